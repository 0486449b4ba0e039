//! Mount attributes by file descriptor: what the new mount API needs and `rustix` does not offer.
//!
//! Everything else of that API (`open_tree`, `fsopen`, `fsmount`, `move_mount`) is safe in `rustix::mount`.
//! Facts: mount_setattr(2), Documentation/filesystems/idmappings.rst.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::mount::{MountAttrFlags, MountPropagationFlags, OpenTreeFlags, open_tree};

/// What to change on a mount.
#[derive(Debug)]
pub struct MountChange<'a> {
    /// Attributes to set; `MOUNT_ATTR_IDMAP` is added by `user_namespace`.
    pub set: MountAttrFlags,
    /// How later mounts below spread to other mount namespaces; `None` leaves it.
    pub propagation: Option<MountPropagationFlags>,
    /// Translate owners through this user namespace's maps. Only a mount never attached before can be changed so.
    pub user_namespace: Option<BorrowedFd<'a>>,
}

/// `struct mount_attr`, mount_setattr(2).
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Changes the one mount `mount` refers to (the mounts below it stay as they are).
///
/// # Errors
/// The kernel's: `EINVAL` for a filesystem that cannot be id-mapped, `EPERM` without CAP_SYS_ADMIN, `ENOSYS`
/// before Linux 5.12.
pub fn change_mount(mount: impl AsFd, change: &MountChange<'_>) -> io::Result<()> {
    change_with(mount, change, libc::AT_EMPTY_PATH)
}

/// As [`change_mount`], for this mount and all below it.
///
/// # Errors
/// As [`change_mount`]; then none of them is changed.
pub fn change_tree(mount: impl AsFd, change: &MountChange<'_>) -> io::Result<()> {
    change_with(mount, change, libc::AT_EMPTY_PATH | libc::AT_RECURSIVE)
}

fn change_with(mount: impl AsFd, change: &MountChange<'_>, flags: libc::c_int) -> io::Result<()> {
    let mut attr = MountAttr {
        set: u64::from(change.set.bits()),
        // The kinds of access times are a field, not bits: a new value needs the old one cleared.
        clear: if change.set.intersects(MountAttrFlags::MOUNT_ATTR__ATIME) {
            u64::from(MountAttrFlags::MOUNT_ATTR__ATIME.bits())
        } else {
            0
        },
        propagation: change.propagation.map_or(0, |kind| u64::from(kind.bits())),
        user_namespace: 0,
    };
    if let Some(namespace) = change.user_namespace {
        attr.set |= u64::from(MountAttrFlags::MOUNT_ATTR_IDMAP.bits());
        attr.user_namespace =
            u64::try_from(namespace.as_raw_fd()).expect("a borrowed file descriptor is never negative");
    }
    // SAFETY: mount_setattr(2) reads an empty path (a valid C string) and `size_of::<MountAttr>()` bytes of `attr`,
    // which lives and is initialised across the call; it writes to neither. Both descriptors are open for the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Moves the caller into a mount namespace of its own, a copy of the one it was in.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN.
pub fn unshare_mounts() -> io::Result<()> {
    // SAFETY: CLONE_NEWNS (unshare(2)) touches no memory and no descriptor table; the danger rustix names is
    // CLONE_FILES.
    Ok(unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }?)
}

/// A detached, read-only view of `dir` whose owners are translated through `user_namespace`.
///
/// The view holds the one mount that contains `dir`; nothing mounted below it is seen. It vanishes with its last
/// descriptor, so a crash leaves nothing behind.
///
/// # Errors
/// As [`change_mount`].
pub fn idmapped_view(dir: impl AsFd, user_namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let view = open_tree(dir, c"", flags)?;
    let change = MountChange {
        set: MountAttrFlags::MOUNT_ATTR_RDONLY,
        propagation: None,
        user_namespace: Some(user_namespace),
    };
    change_mount(&view, &change)?;
    Ok(view)
}
