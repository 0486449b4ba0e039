//! A user namespace with chosen id maps, as a file descriptor and without a process that lives in it.
//!
//! The kernel makes user namespaces only together with a process. A child is cloned into a new one, its maps are
//! written, `/proc/PID/ns/user` is opened, and the child is killed and reaped: the descriptor keeps the namespace.
//! Facts: user_namespaces(7), clone(2), PR_SET_PDEATHSIG(2const).

use std::ffi::c_void;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::process::{Pid, Signal};

/// A run of ids: `count` ids from `inside` in the namespace are those from `outside` on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdExtent {
    /// First id as seen inside.
    pub inside: u32,
    /// First id as seen by the parent namespace.
    pub outside: u32,
    /// How many ids.
    pub count: u32,
}

/// The child only waits to be killed; this is far more than that needs.
const STACK_BYTES: usize = 32 * 1024;

/// Makes a user namespace with these maps and returns a descriptor for it (close-on-exec).
///
/// Takes about 0.2 ms; callers that need one namespace often keep the descriptor.
///
/// # Errors
/// The kernel's: `EPERM` without CAP_SETUID, CAP_SETGID or CAP_SYS_PTRACE over the child, `EINVAL` for a bad map,
/// `ENOSPC`/`EUSERS` when user namespaces are used up or switched off.
pub fn user_namespace(uids: &[IdExtent], gids: &[IdExtent]) -> io::Result<OwnedFd> {
    let child = Child::spawn()?;
    fs::write(format!("/proc/{}/uid_map", child.pid), map_text(uids))?;
    fs::write(format!("/proc/{}/gid_map", child.pid), map_text(gids))?;
    Ok(File::open(format!("/proc/{}/ns/user", child.pid))?.into())
}

/// Makes a user namespace in which every id is the one it is here: what lives in it has no capability over anything
/// of this namespace but files whose owners are mapped, and yet can give files to every owner there is.
///
/// # Errors
/// As [`user_namespace`], or when `/proc/self` cannot be read.
pub fn identical_user_namespace() -> io::Result<OwnedFd> {
    let map = |name: &str| Ok::<_, io::Error>(same_ids(&fs::read_to_string(format!("/proc/self/{name}"))?));
    user_namespace(&map("uid_map")?, &map("gid_map")?)
}

/// The ids a map gives this namespace, each as itself.
fn same_ids(map: &str) -> Vec<IdExtent> {
    let extent = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let inside = words.next()?.parse().ok()?;
        let count = words.nth(1)?.parse().ok()?;
        Some(IdExtent {
            inside,
            outside: inside,
            count,
        })
    };
    map.lines().filter_map(extent).collect()
}

/// The form user_namespaces(7) asks for; one write holds the whole map.
fn map_text(extents: &[IdExtent]) -> String {
    extents
        .iter()
        .map(|e| format!("{} {} {}\n", e.inside, e.outside, e.count))
        .collect()
}

/// A waiting process in a new user namespace; killed and reaped when dropped.
struct Child {
    pid: libc::pid_t,
    pidfd: OwnedFd,
    /// The child runs on it: freed only after the child is gone.
    _stack: Vec<u8>,
}

impl Child {
    fn spawn() -> io::Result<Self> {
        let mut stack = vec![0u8; STACK_BYTES];
        let mut pidfd: libc::c_int = -1;
        let _masked = MaskedSignals::new()?;
        let top = stack.as_mut_ptr_range().end;
        let flags = libc::CLONE_NEWUSER | libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_PIDFD;
        let parent = rustix::process::getpid().as_raw_nonzero().get();
        // SAFETY: the stack is writable, aligned down to 16 bytes and outlives the child, because `Child::drop` reaps
        // before the field is freed. `wait_to_be_killed` takes its argument by value, allocates nothing, takes no
        // lock and touches no thread-local data, as it must while it shares this process's memory. `pidfd` is a
        // valid place for the one int CLONE_PIDFD stores before clone(2) returns. Without CLONE_THREAD and with no
        // exit signal the child is invisible to waits that did not ask for it.
        let pid = unsafe {
            let top = top.sub(top.addr() % 16).cast::<c_void>();
            libc::clone(
                wait_to_be_killed,
                top,
                flags,
                parent as usize as *mut c_void,
                &raw mut pidfd,
            )
        };
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: clone(2) succeeded with CLONE_PIDFD, so `pidfd` is a new descriptor that nobody else owns.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Self {
            pid,
            pidfd,
            _stack: stack,
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A child that was killed by somebody else already needs only the reaping.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        let id = libc::id_t::try_from(self.pidfd.as_raw_fd()).expect("an open descriptor is never negative");
        loop {
            // SAFETY: waitid(2) fills `info`, a plain C struct for which all zeroes is a value.
            let done = unsafe {
                let mut info: libc::siginfo_t = std::mem::zeroed();
                libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED | libc::__WALL)
            };
            if done == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                return;
            }
        }
    }
}

/// The child's whole life. Only raw system calls of `rustix`, which keep no `errno`: the parent's thread-local data
/// is shared.
extern "C" fn wait_to_be_killed(parent: *mut c_void) -> libc::c_int {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // The parent may have died before the line above: then nobody is left to kill this process.
    let alive = rustix::process::getppid()
        .map(Pid::as_raw_nonzero)
        .is_some_and(|pid| pid.get() as usize == parent.addr());
    if alive {
        loop {
            rustix::event::pause();
        }
    }
    0
}

/// Blocks every signal on this thread while a child may inherit the mask, so that no handler of ours runs in a child
/// that shares our memory.
struct MaskedSignals(libc::sigset_t);

impl MaskedSignals {
    fn new() -> io::Result<Self> {
        // SAFETY: both sets are plain C structs for which all zeroes is a value; sigfillset and pthread_sigmask only
        // write through the valid pointers they get.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            match libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) {
                0 => Ok(Self(before)),
                code => Err(io::Error::from_raw_os_error(code)),
            }
        }
    }
}

impl Drop for MaskedSignals {
    fn drop(&mut self) {
        // SAFETY: the set was filled by pthread_sigmask in `new`; the old mask is not asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_makes_a_namespace_of_its_own() {
        let extent = [IdExtent {
            inside: 0,
            outside: 300_000,
            count: 65_536,
        }];
        let namespaces: Vec<_> = (0..20)
            .map(|_| user_namespace(&extent, &extent).unwrap())
            .collect();
        let mut seen: Vec<_> = namespaces
            .iter()
            .map(|fd| rustix::fs::fstat(fd).unwrap().st_ino)
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 20);
    }

    #[test]
    fn an_identical_map_names_every_id_as_itself() {
        let extents = same_ids("         0     100000      65536\n     70000 5 2\n");
        assert_eq!(map_text(&extents), "0 0 65536\n70000 70000 2\n");
        identical_user_namespace().unwrap();
    }

    #[test]
    fn the_child_is_gone_when_dropped() {
        let child = Child::spawn().unwrap();
        let path = format!("/proc/{}", child.pid);
        assert!(fs::exists(&path).unwrap());
        drop(child);
        assert!(!fs::exists(&path).unwrap());
    }

    #[test]
    fn a_bad_map_is_refused_by_the_kernel() {
        let extent = [IdExtent {
            inside: 0,
            outside: 1,
            count: 0,
        }];
        assert!(user_namespace(&extent, &extent).is_err());
    }
}
