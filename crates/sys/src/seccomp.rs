//! Seccomp filters: writing one that allows a few calls and nothing else, and installing one.
//!
//! Facts: seccomp(2), linux/bpf_common.h, linux/seccomp.h, linux/audit.h.

use std::io;

/// One classic BPF instruction, laid out as the kernel's `struct sock_filter` (linux/filter.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Numbers of system calls on this architecture, as far as somebody asked for them.
pub mod call {
    macro_rules! numbers {
        ($($name:ident = $number:ident),* $(,)?) => {
            $(
                #[doc = concat!("`", stringify!($number), "`")]
                pub const $name: u32 = libc::$number as u32;
            )*
        };
    }
    numbers! {
        BRK = SYS_brk, CLOCK_GETTIME = SYS_clock_gettime, CLOSE = SYS_close, EXIT = SYS_exit,
        EXIT_GROUP = SYS_exit_group, FCHMOD = SYS_fchmod, FCHMODAT = SYS_fchmodat, FCHOWN = SYS_fchown,
        FCHOWNAT = SYS_fchownat, FCNTL = SYS_fcntl, FSETXATTR = SYS_fsetxattr, FSTAT = SYS_fstat,
        FSTATFS = SYS_fstatfs, FTRUNCATE = SYS_ftruncate, FUTEX = SYS_futex, GETDENTS64 = SYS_getdents64,
        GETPID = SYS_getpid, GETRANDOM = SYS_getrandom, GETTID = SYS_gettid, LINKAT = SYS_linkat,
        LSEEK = SYS_lseek, MADVISE = SYS_madvise, MKDIRAT = SYS_mkdirat, MKNODAT = SYS_mknodat,
        MMAP = SYS_mmap, MPROTECT = SYS_mprotect, MREMAP = SYS_mremap, MUNMAP = SYS_munmap,
        NEWFSTATAT = SYS_newfstatat, OPENAT = SYS_openat, OPENAT2 = SYS_openat2, POLL = SYS_ppoll,
        READ = SYS_read, READLINKAT = SYS_readlinkat, RENAMEAT2 = SYS_renameat2, RT_SIGPROCMASK = SYS_rt_sigprocmask,
        RT_SIGRETURN = SYS_rt_sigreturn, SCHED_YIELD = SYS_sched_yield, SIGALTSTACK = SYS_sigaltstack,
        SYMLINKAT = SYS_symlinkat, TGKILL = SYS_tgkill, UNLINKAT = SYS_unlinkat, UTIMENSAT = SYS_utimensat,
        WRITE = SYS_write,
    }
}

/// A system call and what must hold of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allow {
    /// With any arguments.
    Always(u32),
    /// Only when the lower half of an argument is this value.
    Equal {
        /// Number of the call.
        call: u32,
        /// Which argument, from 0.
        argument: u32,
        /// Its value.
        value: u32,
    },
    /// Only when none of these bits are set in the lower half of an argument.
    Clear {
        /// Number of the call.
        call: u32,
        /// Which argument, from 0.
        argument: u32,
        /// The bits.
        bits: u32,
    },
}

const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
const ALLOWED: u32 = 0x7FFF_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
/// Offset of an argument's lower half in `struct seccomp_data`, little-endian.
const ARGUMENTS: u32 = 16;
#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xC000_00B7;

/// A program that allows these calls and kills the process at any other, and at any of a foreign architecture.
///
/// On x86-64 the calls of its 32-bit-pointer variant have numbers of their own, so they are not allowed either.
#[must_use]
pub fn only(allowed: &[Allow]) -> Vec<Instruction> {
    let step = |code, k| Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    };
    let test = |code, k, jt, jf| Instruction { code, jt, jf, k };
    let mut program = vec![
        step(LOAD, 4),
        test(JUMP_EQUAL, AUDIT_ARCH, 1, 0),
        step(RETURN, KILL_PROCESS),
        step(LOAD, 0),
    ];
    for one in allowed {
        match *one {
            Allow::Always(call) => program.extend([test(JUMP_EQUAL, call, 0, 1), step(RETURN, ALLOWED)]),
            Allow::Equal {
                call,
                argument,
                value,
            } => program.extend([
                test(JUMP_EQUAL, call, 0, 4),
                step(LOAD, ARGUMENTS + 8 * argument),
                test(JUMP_EQUAL, value, 0, 1),
                step(RETURN, ALLOWED),
                step(RETURN, KILL_PROCESS),
            ]),
            Allow::Clear { call, argument, bits } => program.extend([
                test(JUMP_EQUAL, call, 0, 4),
                step(LOAD, ARGUMENTS + 8 * argument),
                test(JUMP_ANY_BIT, bits, 1, 0),
                step(RETURN, ALLOWED),
                step(RETURN, KILL_PROCESS),
            ]),
        }
    }
    program.push(step(RETURN, KILL_PROCESS));
    program
}

/// `SECCOMP_SET_MODE_FILTER` of seccomp(2).
const SET_MODE_FILTER: libc::c_uint = 1;
/// `SECCOMP_FILTER_FLAG_TSYNC`.
const THREAD_SYNC: libc::c_uint = 1;

/// Installs `program`; it holds for this thread and all it will ever create, and cannot be removed.
///
/// # Errors
/// `EACCES` without `CAP_SYS_ADMIN` in the user namespace (`no_new_privs` is not set by us), `EINVAL` for a program
/// the kernel refuses.
pub fn install(program: &[Instruction]) -> io::Result<()> {
    install_with(program, 0)
}

/// As [`install`], and for every thread there is.
///
/// # Errors
/// As [`install`]; `ESRCH` when a thread has a filter this one does not have.
pub fn install_on_all_threads(program: &[Instruction]) -> io::Result<()> {
    install_with(program, THREAD_SYNC)
}

fn install_with(program: &[Instruction], flags: libc::c_uint) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let fprog = libc::sock_fprog {
        len,
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: `Instruction` has the layout of sock_filter; fprog points to `len` of them, alive during the call, and
    // the kernel copies them without writing (seccomp(2)).
    let installed = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const fprog) };
    match installed {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        // With TSYNC: the id of a thread that could not follow.
        _ => Err(io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

#[cfg(test)]
mod tests {
    use super::Instruction;

    #[test]
    fn the_layout_is_the_kernels() {
        assert_eq!(size_of::<Instruction>(), size_of::<libc::sock_filter>());
        assert_eq!(align_of::<Instruction>(), align_of::<libc::sock_filter>());
    }
}
