//! Network namespaces of a thread, and the netlink socket options no safe wrapper offers.
//!
//! A network namespace belongs to a thread: what is called here changes the calling thread only, and
//! a thread that has left its namespace must not be given back to a pool.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// Moves the calling thread into a new, empty network namespace.
pub fn unshare() -> io::Result<()> {
    // SAFETY: the danger named by rustix is CLONE_FILES only; CLONE_NEWNET (unshare(2)) touches no
    // memory and no descriptor table.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}

/// Moves the calling thread into the network namespace behind `namespace` (an open `ns/net` link).
pub fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
    Ok(())
}

/// Asks the kernel to explain refusals in words (`NETLINK_EXT_ACK`) and not to echo requests back
/// (`NETLINK_CAP_ACK`), both netlink(7).
pub fn explain_netlink_errors(socket: BorrowedFd<'_>) -> io::Result<()> {
    for option in [libc::NETLINK_CAP_ACK, libc::NETLINK_EXT_ACK] {
        let on: libc::c_int = 1;
        // SAFETY: the value pointer and its length describe one live c_int, as setsockopt(2) wants;
        // the kernel only reads it, and the descriptor is borrowed for the whole call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                std::ptr::from_ref(&on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
