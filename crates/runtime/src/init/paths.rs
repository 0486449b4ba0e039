//! Closing paths of /proc and /sys.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use sys::mount::{MountChange, change_mount};

use super::inside;
use super::mounts::{attach, emptiness};
use super::{During, Failure};
use crate::oci::Spec;

/// Makes the read-only paths read-only and the masked ones show nothing. Those the kernel does not have are skipped.
///
/// The mask of files is the host's own node, never what lies at a path the image may have prepared (CVE-2025-31133).
pub(super) fn restrict(root: BorrowedFd<'_>, spec: &Spec, null: &OwnedFd) -> Result<(), Failure> {
    for path in &spec.linux.readonly_paths {
        if let Some(target) = existing(root, path)? {
            let copy = clone(&target).during(format!("copy the mount of {path}"))?;
            let set = MountAttrFlags::MOUNT_ATTR_RDONLY
                | MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NODEV
                | MountAttrFlags::MOUNT_ATTR_NOEXEC;
            let change = MountChange {
                set,
                propagation: None,
                user_namespace: None,
            };
            change_mount(&copy, &change).during(format!("protect {path}"))?;
            attach(&copy, &target).during(format!("mount {path} read-only"))?;
        }
    }
    for path in &spec.linux.masked_paths {
        if let Some(target) = existing(root, path)? {
            let stat = fstat(target.as_fd()).during(format!("look at {path}"))?;
            let mask = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => emptiness(path)?,
                _ => clone(null).during("copy the mount of /dev/null")?,
            };
            attach(&mask, &target).during(format!("mask {path}"))?;
        }
    }
    Ok(())
}

fn existing(root: BorrowedFd<'_>, path: &str) -> Result<Option<OwnedFd>, Failure> {
    match inside::open_plain(root, path) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error).during(format!("open {path}")),
    }
}

/// The part of the file tree behind `of`, once more and detached.
fn clone(of: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(of, "", flags)
}
