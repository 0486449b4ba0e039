//! Cloning this process, optionally into new namespaces.
//!
//! A clone without `CLONE_VM` of a process with one thread is a plain fork: the child may run any code. With more
//! threads the child would find locks held by threads it does not have, so [`spawn`] refuses.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// Exit status of a child whose code panicked.
const PANICKED: i32 = 101;

/// Which namespaces a child starts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// Those of its parent.
    Inherited,
    /// New ones of these kinds.
    New(UnshareFlags),
    /// New user, pid, mount, net, ipc and uts namespaces. The cgroup namespace is missing on purpose: its root is the
    /// cgroup its maker is in, so it is made by [`unshare_cgroup`] after the child was moved.
    Container,
}

impl Namespaces {
    fn flags(self) -> u64 {
        let flags = match self {
            Self::Inherited => 0,
            Self::New(kinds) => return u64::from(kinds.bits()),
            Self::Container => {
                libc::CLONE_NEWUSER
                    | libc::CLONE_NEWPID
                    | libc::CLONE_NEWNS
                    | libc::CLONE_NEWNET
                    | libc::CLONE_NEWIPC
                    | libc::CLONE_NEWUTS
            }
        };
        u64::from(flags.cast_unsigned())
    }
}

/// A child made by [`spawn`]; its parent must wait for it.
#[derive(Debug)]
pub struct Spawned {
    /// The child's id in the caller's pid namespace.
    pub pid: Pid,
    /// Refers to the child and no other, also after its death; close-on-exec.
    pub pidfd: OwnedFd,
}

/// Runs `child` in a new process that ends with the status it returns.
///
/// Of the open descriptors the child has only `keep`, under the same numbers. `child` must use no other one it can
/// still name: they are closed. What `child` owns is dropped in the caller as well, when this returns.
///
/// # Errors
/// `EINVAL` when the calling process has more than one thread; else what clone3(2) says.
pub fn spawn(namespaces: Namespaces, keep: &[RawFd], child: impl FnOnce() -> i32) -> io::Result<Spawned> {
    assert_single_threaded()?;
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain integers, for which all-zero is a valid value meaning "not used" (clone3(2)).
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces.flags() | u64::from(libc::CLONE_PIDFD.cast_unsigned());
    args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    // SAFETY: no CLONE_VM and no stack given, so the child continues on its own copy of this stack (clone3(2)); this
    // process has one thread (checked above), so no lock is held by a thread missing in the child. `args` and `pidfd`
    // live until the call has returned.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            close_all_but(keep);
            let status = catch_unwind(AssertUnwindSafe(child)).unwrap_or(PANICKED);
            exit(status)
        }
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            // SAFETY: the call succeeded with CLONE_PIDFD, so the kernel stored a fresh descriptor nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Spawned {
                pid: pid.expect("clone3 returns a positive pid to the parent"),
                pidfd,
            })
        }
    }
}

/// `unshare(CLONE_THREAD)` changes nothing and fails with `EINVAL` in a process of several threads (unshare(2)).
fn assert_single_threaded() -> io::Result<()> {
    // SAFETY: CLONE_THREAD alone shares or unshares nothing; the danger rustix names is CLONE_FILES.
    let alone =
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::from_bits_retain(libc::CLONE_THREAD as u32)) };
    Ok(alone?)
}

/// Moves the caller into a new cgroup namespace, whose root is the cgroup it is in now.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN` in the current user namespace.
pub fn unshare_cgroup() -> io::Result<()> {
    // SAFETY: CLONE_NEWCGROUP touches no memory and no descriptor table; the danger rustix names is CLONE_FILES.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWCGROUP) }?)
}

/// Closes every descriptor that is not in `keep`, whoever thinks to own it.
fn close_all_but(keep: &[RawFd]) {
    let mut kept: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    kept.sort_unstable();
    let mut first = 0;
    for fd in kept {
        if fd > first {
            close_range(first, fd - 1, 0);
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX, 0);
}

/// Marks every descriptor above the standard three close-on-exec, so that none leaks into a program run later.
pub fn seal_descriptors() {
    close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
}

/// Closes every descriptor above the standard three, whoever thinks to own it: for a program that was just started and
/// must keep nothing its parent forgot to close. Call it before anything is opened.
pub fn close_inherited() {
    close_range(3, u32::MAX, 0);
}

/// Moves the caller into new mount, network, ipc and uts namespaces, which belong to its user namespace.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN` in the user namespace, `ENOSPC` when such namespaces are used up or switched off.
pub fn unshare_surroundings() -> io::Result<()> {
    let flags = UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    // SAFETY: the danger rustix names is CLONE_FILES; these (unshare(2)) touch no memory and no descriptor table.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

fn close_range(first: u32, last: u32, flags: u32) {
    // SAFETY: closing (close_range(2)) touches no memory. It happens only in a fresh child that runs `child` and
    // exits, or in a program that has opened nothing yet, so no owner of a closed descriptor is ever dropped or used;
    // with CLOEXEC nothing is closed at all.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
}

/// Ends the process at once: no destructors, no exit handlers (they belong to the process this one was cloned from).
pub fn exit(status: i32) -> ! {
    // SAFETY: _exit(2) never returns and has no preconditions.
    unsafe { libc::_exit(status) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_cloned() {
        // The test harness itself runs this on a thread beside its main one.
        let refused = spawn(Namespaces::Inherited, &[], || 0).expect_err("more than one thread");
        assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
    }
}
