//! Leaving the session keyring a process inherited (session-keyring(7)).

use std::io;

/// `KEYCTL_JOIN_SESSION_KEYRING` of keyctl(2).
const JOIN_SESSION_KEYRING: libc::c_long = 1;

/// Gives the calling process a new, empty session keyring without a name instead of its inherited one.
///
/// # Errors
/// `ENOSYS` where the kernel has no keyrings, `EDQUOT` when the user has too many.
pub fn join_anonymous_session() -> io::Result<()> {
    // SAFETY: a null name asks for an anonymous keyring (keyctl_join_session_keyring(3)); no memory is passed.
    let joined = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    };
    if joined >= 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
