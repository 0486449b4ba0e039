//! A subvolume for each instance, with a limit in its quota group.
//!
//! Used only where the operator has turned quotas on. Inside, a write beyond the limit fails with EDQUOT, while `df`
//! shows the host's filesystem: btrfs has no other answer.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::io::Errno;
use tracing::debug;

use crate::error::AssembleError;

/// The subvolume of an instance, in its directory.
const RW: &CStr = c"rw";
/// Its name while the driver is tried out.
const PROBE: &CStr = c".probe";

/// Tries it out in `dir`.
pub(super) fn open(dir: &Path) -> Result<(), AssembleError> {
    let parent = File::open(dir).map_err(AssembleError::io("open", dir))?;
    // An earlier try may have been interrupted.
    let _ = destroy(&parent, PROBE);
    let step = "make a subvolume (is this btrfs?)";
    sys::btrfs::create_subvolume(&parent, PROBE).map_err(AssembleError::mounting(step))?;
    let limited =
        File::open(dir.join(".probe")).and_then(|probe| sys::btrfs::limit_subvolume(&probe, 1 << 20));
    destroy(&parent, PROBE).map_err(AssembleError::mounting("remove a subvolume"))?;
    let step = "limit a subvolume (quotas are off; turn them on with `btrfs quota enable`)";
    limited.map_err(AssembleError::mounting(step))
}

/// Makes the instance's subvolume `rw` and limits it.
pub(super) fn create(instance_dir: &Path, bytes: u64) -> Result<(), AssembleError> {
    let parent = File::open(instance_dir).map_err(AssembleError::io("open", instance_dir))?;
    let rw = instance_dir.join("rw");
    match sys::btrfs::create_subvolume(&parent, RW) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(AssembleError::Leftover { path: rw });
        }
        made => made.map_err(AssembleError::io("make a subvolume", &rw))?,
    }
    let limited = File::open(&rw).and_then(|rw| sys::btrfs::limit_subvolume(&rw, bytes));
    limited.map_err(|error| {
        let _ = destroy(&parent, RW);
        AssembleError::io("limit the subvolume", &rw)(error)
    })
}

/// Removes the instance's subvolume at once, if it is one: `Ok(false)` when it is not.
pub(crate) fn discard(instance_dir: &File) -> io::Result<bool> {
    match destroy(instance_dir, RW) {
        Ok(()) => Ok(true),
        Err(error) => match Errno::from_io_error(&error) {
            // Not btrfs, not a subvolume, nothing there, or not ours to remove so: the caller removes it file by file.
            Some(Errno::NOTTY | Errno::INVAL | Errno::NOENT | Errno::PERM | Errno::NOTDIR) => Ok(false),
            _ => Err(error),
        },
    }
}

/// What the group of the subvolume at `rw` has; `None` when it is no limited subvolume.
pub(crate) fn usage(rw: &Path) -> Option<u64> {
    let rw = File::open(rw).ok()?;
    // A directory of the host's own subvolume has another inode.
    (rustix::fs::fstat(&rw).ok()?.st_ino == 256).then_some(())?;
    let id = sys::btrfs::subvolume(&rw).ok()?;
    sys::btrfs::referenced(&rw, id).ok().flatten()
}

fn destroy(parent: &File, name: &CStr) -> io::Result<()> {
    let open = {
        let flags =
            rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::openat(parent, name, flags, rustix::fs::Mode::empty())?
    };
    let id = sys::btrfs::subvolume(open.as_fd());
    drop(open);
    sys::btrfs::destroy_subvolume(parent, name)?;
    // The group of a subvolume that is still being deleted cannot be removed. It costs nothing but a line in the
    // list of groups, and newer kernels remove it themselves.
    if let Ok(id) = id
        && let Err(error) = sys::btrfs::remove_group(parent, id)
    {
        debug!(id, %error, "the quota group of a removed subvolume stays for now");
    }
    Ok(())
}
