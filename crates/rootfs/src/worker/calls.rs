//! The system calls unpacking takes; any other kills the process.

use sys::seccomp::call::*;
use sys::seccomp::{Allow, Instruction, only};

/// Memory that can be run, mmap(2).
const PROT_EXEC: u32 = 4;

/// Calls without a condition: files, memory, threads that exist already, the end.
const ALWAYS: [u32; 38] = [
    READ,
    WRITE,
    CLOSE,
    OPENAT,
    OPENAT2,
    NEWFSTATAT,
    FSTAT,
    FSTATFS,
    LSEEK,
    FTRUNCATE,
    FCHOWN,
    FCHMOD,
    UTIMENSAT,
    FSETXATTR,
    MKDIRAT,
    MKNODAT,
    LINKAT,
    SYMLINKAT,
    READLINKAT,
    UNLINKAT,
    RENAMEAT2,
    FCHOWNAT,
    FCHMODAT,
    GETDENTS64,
    FCNTL,
    FUTEX,
    SCHED_YIELD,
    CLOCK_GETTIME,
    BRK,
    MUNMAP,
    MREMAP,
    MADVISE,
    GETRANDOM,
    SIGALTSTACK,
    RT_SIGPROCMASK,
    RT_SIGRETURN,
    EXIT,
    EXIT_GROUP,
];

/// The filter of a process with this id, in its own pid namespace.
pub(super) fn filter(pid: u32) -> Vec<Instruction> {
    let mut allowed: Vec<Allow> = ALWAYS.iter().copied().map(Allow::Always).collect();
    for call in [MMAP, MPROTECT] {
        allowed.push(Allow::Clear {
            call,
            argument: 2,
            bits: PROT_EXEC,
        });
    }
    // The signal of abort(3), so that a process out of memory ends by a name of its own.
    allowed.extend([Allow::Always(GETPID), Allow::Always(GETTID)]);
    allowed.push(Allow::Equal {
        call: TGKILL,
        argument: 0,
        value: pid,
    });
    only(&allowed)
}
