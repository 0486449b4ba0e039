//! Subvolumes of btrfs and the limits of their quota groups.
//!
//! Facts: include/uapi/linux/btrfs.h and btrfs_tree.h. A subvolume's quota group has the id of the subvolume.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `BTRFS_IOC_SUBVOL_CREATE`.
const SUBVOL_CREATE: libc::Ioctl = 0x5000_940E;
/// `BTRFS_IOC_SNAP_DESTROY`.
const SNAP_DESTROY: libc::Ioctl = 0x5000_940F;
/// `BTRFS_IOC_TREE_SEARCH`.
const TREE_SEARCH: libc::Ioctl = 0xD000_9411;
/// `BTRFS_IOC_INO_LOOKUP`.
const INO_LOOKUP: libc::Ioctl = 0xD000_9412;
/// `BTRFS_IOC_QGROUP_CREATE`.
const QGROUP_CREATE: libc::Ioctl = 0x4010_942A;
/// `BTRFS_IOC_QGROUP_LIMIT`.
const QGROUP_LIMIT: libc::Ioctl = 0x8030_942B;
/// Inode of every subvolume's top directory (`BTRFS_FIRST_FREE_OBJECTID`).
const TOP: u64 = 256;
/// `BTRFS_QUOTA_TREE_OBJECTID`.
const QUOTA_TREE: u64 = 8;
/// `BTRFS_QGROUP_INFO_KEY`.
const INFO_KEY: u32 = 242;
/// `BTRFS_QGROUP_LIMIT_MAX_RFER`: the limit is on all the group refers to.
const MAX_RFER: u64 = 1;

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct VolArgs {
    fd: i64,
    name: [u8; 4088],
}

/// `struct btrfs_ioctl_ino_lookup_args`.
#[repr(C)]
struct LookupArgs {
    tree: u64,
    object: u64,
    name: [u8; 4080],
}

/// `struct btrfs_ioctl_qgroup_limit_args`.
#[repr(C)]
struct LimitArgs {
    group: u64,
    flags: u64,
    max_referenced: u64,
    max_exclusive: u64,
    reserved_referenced: u64,
    reserved_exclusive: u64,
}

/// `struct btrfs_ioctl_qgroup_create_args`.
#[repr(C)]
struct CreateArgs {
    create: u64,
    group: u64,
}

/// `struct btrfs_ioctl_search_args`.
#[repr(C)]
struct SearchArgs {
    tree: u64,
    min_object: u64,
    max_object: u64,
    min_offset: u64,
    max_offset: u64,
    min_transaction: u64,
    max_transaction: u64,
    min_type: u32,
    max_type: u32,
    items: u32,
    unused: u32,
    unused_longs: [u64; 4],
    found: [u8; 3992],
}

/// Makes an empty subvolume `name` in the directory `parent`, mode 0755.
///
/// # Errors
/// The kernel's: `ENOTTY` elsewhere than on btrfs, `EEXIST`.
pub fn create_subvolume(parent: impl AsFd, name: &CStr) -> io::Result<()> {
    let args = vol_args(name)?;
    // SAFETY: reads one btrfs_ioctl_vol_args with a NUL-terminated name.
    unsafe { call(parent, SUBVOL_CREATE, (&raw const args).cast_mut()) }
}

/// Removes the subvolume `name` of the directory `parent` with all that is in it; the room is freed in the background.
///
/// # Errors
/// The kernel's: `EINVAL` when it is a plain directory, `EBUSY` while something is mounted there.
pub fn destroy_subvolume(parent: impl AsFd, name: &CStr) -> io::Result<()> {
    let args = vol_args(name)?;
    // SAFETY: reads one btrfs_ioctl_vol_args with a NUL-terminated name.
    unsafe { call(parent, SNAP_DESTROY, (&raw const args).cast_mut()) }
}

/// The id of the subvolume that `dir` is in.
///
/// # Errors
/// `ENOTTY` elsewhere than on btrfs.
pub fn subvolume(dir: impl AsFd) -> io::Result<u64> {
    let mut args = LookupArgs {
        tree: 0,
        object: TOP,
        name: [0; 4080],
    };
    // SAFETY: reads and writes one btrfs_ioctl_ino_lookup_args.
    unsafe { call(dir, INO_LOOKUP, &raw mut args) }?;
    Ok(args.tree)
}

/// Limits what the subvolume that `dir` is in may refer to, bytes.
///
/// # Errors
/// The kernel's: `ENOTCONN` or `EINVAL` when quotas are off.
pub fn limit_subvolume(dir: impl AsFd, bytes: u64) -> io::Result<()> {
    let mut args = LimitArgs {
        group: 0,
        flags: MAX_RFER,
        max_referenced: bytes,
        max_exclusive: 0,
        reserved_referenced: 0,
        reserved_exclusive: 0,
    };
    // SAFETY: reads one btrfs_ioctl_qgroup_limit_args; the group 0 stands for the descriptor's subvolume.
    unsafe { call(dir, QGROUP_LIMIT, &raw mut args) }
}

/// Removes the quota group of a subvolume that is gone. `dir` is any directory of the filesystem.
///
/// # Errors
/// The kernel's: `EBUSY` while the subvolume is still being deleted.
pub fn remove_group(dir: impl AsFd, subvolume: u64) -> io::Result<()> {
    let mut args = CreateArgs {
        create: 0,
        group: subvolume,
    };
    // SAFETY: reads one btrfs_ioctl_qgroup_create_args.
    unsafe { call(dir, QGROUP_CREATE, &raw mut args) }
}

/// Bytes a subvolume's quota group refers to, as of the last transaction; `None` when it has no group.
///
/// # Errors
/// The kernel's: `ENOENT` when quotas are off.
pub fn referenced(dir: impl AsFd, subvolume: u64) -> io::Result<Option<u64>> {
    let mut args = SearchArgs {
        tree: QUOTA_TREE,
        min_object: 0,
        max_object: 0,
        min_offset: subvolume,
        max_offset: subvolume,
        min_transaction: 0,
        max_transaction: u64::MAX,
        min_type: INFO_KEY,
        max_type: INFO_KEY,
        items: 1,
        unused: 0,
        unused_longs: [0; 4],
        found: [0; 3992],
    };
    // SAFETY: reads and writes one btrfs_ioctl_search_args.
    unsafe { call(dir, TREE_SEARCH, &raw mut args) }?;
    // A header of 32 bytes, then `btrfs_qgroup_info_item`: generation, referenced, … as little-endian numbers.
    let referenced = args.found.get(40..48).and_then(|bytes| bytes.try_into().ok());
    Ok(referenced.filter(|_| args.items == 1).map(u64::from_le_bytes))
}

fn vol_args(name: &CStr) -> io::Result<VolArgs> {
    let bytes = name.to_bytes_with_nul();
    let mut args = VolArgs {
        fd: 0,
        name: [0; 4088],
    };
    let place = args
        .name
        .get_mut(..bytes.len())
        .ok_or(io::ErrorKind::InvalidInput)?;
    place.copy_from_slice(bytes);
    Ok(args)
}

/// # Safety
/// `args` points to what `request` reads and writes.
unsafe fn call<T>(dir: impl AsFd, request: libc::Ioctl, args: *mut T) -> io::Result<()> {
    // SAFETY: the descriptor is open for the call; the rest is the caller's promise.
    let done = unsafe { libc::ioctl(dir.as_fd().as_raw_fd(), request, args) };
    if done >= 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_layout() {
        assert_eq!(size_of::<VolArgs>(), 4096);
        assert_eq!(size_of::<LookupArgs>(), 4096);
        assert_eq!(size_of::<SearchArgs>(), 4096);
        assert_eq!(size_of::<LimitArgs>(), 48);
        assert_eq!(size_of::<CreateArgs>(), 16);
    }

    #[test]
    fn elsewhere_it_says_so() {
        let dir = std::fs::File::open("/proc").unwrap();
        assert!(subvolume(&dir).is_err());
        assert!(create_subvolume(&dir, c"x").is_err());
    }
}
