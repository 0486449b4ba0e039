//! What a process does to itself just before it becomes another program, and how it signals others.

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Replaces this process by the program at `path`; returns only the reason why that failed.
///
/// Unlike the C library's search functions it does not hand files the kernel refuses to a shell.
#[must_use]
pub fn exec(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const c_char> {
        list.iter()
            .map(|text| text.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: path is NUL-terminated; both arrays hold pointers to live NUL-terminated strings and end with a null
    // pointer, as execve(2) demands. On success this code no longer exists.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Gives every signal its default action and unblocks all: ignored signals survive exec, and Rust ignores `SIGPIPE`.
pub fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL is a valid action for every signal; the ones that cannot be set (KILL, STOP, the two of the
        // C library) fail without effect (signal(2)).
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: sigset_t is plain memory that sigemptyset(3) initialises before sigprocmask(2) reads it; the old mask
    // is not asked for.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Sends any signal, real-time ones included, to the process behind a pidfd.
///
/// # Errors
/// `ESRCH` when the process is gone, `EINVAL` for a number that is no signal.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: a null siginfo is allowed (pidfd_send_signal(2)); no memory is passed.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if sent == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Overwrites what `/proc/<pid>/cmdline` and `environ` show with `title`, cut to the room there is.
///
/// A clone that never execs would otherwise show its maker's arguments to whoever can see it.
///
/// # Errors
/// When `/proc/self/stat` cannot be read or does not say where the arguments are.
pub fn set_title(title: &str) -> io::Result<()> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let bounds =
        argument_bounds(&stat).ok_or_else(|| io::Error::other("/proc/self/stat has no argument area"))?;
    let room = bounds.end - bounds.start;
    let shown = title.len().min(room.saturating_sub(1));
    // SAFETY: [start, end) is the argument and environment area on this process's own stack, writable memory that
    // stays mapped for its whole life (proc_pid_stat(5), arg_start … env_end). Everything after the title is zeroed,
    // so every C string that starts there still ends inside it. The callers are single-threaded clones.
    unsafe {
        let area = std::ptr::with_exposed_provenance_mut::<u8>(bounds.start);
        std::ptr::write_bytes(area, 0, room);
        std::ptr::copy_nonoverlapping(title.as_ptr(), area, shown);
    }
    Ok(())
}

/// Fields 48 to 51 of proc_pid_stat(5): arg_start, arg_end, env_start, env_end. The area ends with the arguments when
/// the environment does not follow them directly.
fn argument_bounds(stat: &str) -> Option<std::ops::Range<usize>> {
    // The second field may hold spaces and brackets itself; the third follows the last bracket.
    let (_, rest) = stat.rsplit_once(')')?;
    let field =
        |number: usize| -> Option<usize> { rest.split_ascii_whitespace().nth(number - 3)?.parse().ok() };
    let (arg_start, arg_end, env_start, env_end) = (field(48)?, field(49)?, field(50)?, field(51)?);
    let end = if env_start == arg_end && env_end > env_start {
        env_end
    } else {
        arg_end
    };
    (arg_start != 0 && arg_start < end).then_some(arg_start..end)
}

#[cfg(test)]
mod tests {
    use super::argument_bounds;

    #[test]
    fn the_argument_area_is_found_behind_a_hostile_name() {
        let fields: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let stat = format!("7 (a) b) S {}", fields.join(" "));
        assert_eq!(argument_bounds(&stat), Some(48..49));
        assert_eq!(argument_bounds("7 (x) S 1"), None);
    }
}
