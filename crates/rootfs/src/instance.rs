//! The directories of an instance: what it writes, and where its root filesystem appears.
//!
//! ```text
//! <instance_dir>/rw/      0700: only root reaches what containers write
//!   upper/  work/         the overlay's; volatile, never mounted a second time. Not here if the instance has a
//!                         filesystem of its own, which is attached nowhere: see `quota`
//!   room/                 that filesystem, only while assembling on kernels before 6.13; so too:
//!   lower/  staging/  l/
//! ```

use std::fs::{self, DirBuilder, File};
use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags, mkdirat, openat, statx};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use tracing::warn;

use crate::assemble::remove_if_empty;
use crate::error::AssembleError;
use crate::inherit::Attributes;
use crate::quota::{Quota, Room, discard_subvolume};
use crate::remove::remove_tree;

/// Mounts stacked on one place that are taken off before giving up.
const MAX_STACKED: usize = 64;

/// Fresh directories for one overlay; removed when dropped, unless kept.
pub(crate) struct Dirs {
    instance_dir: PathBuf,
    rw: OwnedFd,
    /// The filesystem that has `upper` and `work`, if it is not that of `rw`.
    own: Option<OwnedFd>,
}

impl Dirs {
    /// Makes them; the upper one has `root`'s attributes, which are those of the container's `/`. `bytes` bounds what
    /// is written there, if there is a quota.
    pub(crate) fn create(
        quota: &Quota,
        instance_dir: &Path,
        bytes: Option<u64>,
        root: &Attributes,
    ) -> Result<Self, AssembleError> {
        make_dir(instance_dir, 0o711)?;
        let room = quota.room(instance_dir, bytes)?;
        let rw = instance_dir.join("rw");
        let open = open_dir(&rw);
        let dirs = match open {
            Ok(rw) => Self {
                instance_dir: instance_dir.to_owned(),
                rw,
                own: match room {
                    Room::Directory => None,
                    Room::Filesystem(root) => Some(root),
                },
            },
            Err(error) => {
                remove_if_empty(&rw);
                return Err(error);
            }
        };
        for name in ["work", "upper"] {
            let path = rw.join(name);
            let failed = |action| AssembleError::io(action, &path);
            match mkdirat(dirs.room(), name, Mode::RWXU) {
                Err(Errno::EXIST) if dirs.own.is_some() => {}
                made => made.map_err(failed("create"))?,
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let open = openat(dirs.room(), name, flags, Mode::empty()).map_err(failed("open"))?;
            root.set(open.as_fd()).map_err(failed("set the owner of"))?;
        }
        Ok(dirs)
    }

    /// The directory that holds what is needed for assembling.
    pub(crate) fn rw(&self) -> &OwnedFd {
        &self.rw
    }

    /// The directory that holds `upper` and `work`.
    pub(crate) fn room(&self) -> &OwnedFd {
        self.own.as_ref().unwrap_or(&self.rw)
    }

    /// The instance's own filesystem, to be attached while assembling.
    pub(crate) fn own(&self) -> Option<&OwnedFd> {
        self.own.as_ref()
    }

    /// Its path.
    pub(crate) fn rw_path(&self) -> PathBuf {
        self.instance_dir.join("rw")
    }

    /// Leaves them.
    pub(crate) fn keep(mut self) {
        drop(mem::take(&mut self.instance_dir));
    }
}

impl Drop for Dirs {
    fn drop(&mut self) {
        if self.instance_dir.as_os_str().is_empty() {
            return;
        }
        if let Err(error) = discard(&self.instance_dir) {
            warn!(path = %self.instance_dir.display(), %error, "cannot undo a failed assembly; discard it later");
        }
    }
}

/// The place a root filesystem is mounted on; its directory is removed when dropped if it was made here, unless kept.
pub(crate) struct Target {
    pub(crate) fd: OwnedFd,
    made: Option<PathBuf>,
}

impl Target {
    /// Makes the directory if it is missing. One that is a mount point already is refused.
    pub(crate) fn prepare(path: &Path) -> Result<Self, AssembleError> {
        let made = (make_dir(path, 0o711)? == Made::New).then(|| path.to_owned());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(CWD, path, flags, Mode::empty()).map_err(AssembleError::io("open", path))?;
        let target = Self { fd, made };
        if is_mounted(&target.fd).map_err(AssembleError::io("look at", path))? {
            return Err(AssembleError::Leftover {
                path: path.to_owned(),
            });
        }
        Ok(target)
    }

    /// Leaves the directory.
    pub(crate) fn keep(mut self) {
        self.made = None;
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            remove_if_empty(path);
        }
    }
}

/// Whether this is the root of a mount.
pub(crate) fn is_mounted(dir: impl AsFd) -> io::Result<bool> {
    let stat = statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
    Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// See `Rootfs::unmount`.
pub(crate) fn unmount(target: &Path) -> Result<(), AssembleError> {
    detach(target)?;
    remove_if_empty(target);
    Ok(())
}

/// See `Rootfs::discard`.
pub(crate) fn discard(instance_dir: &Path) -> Result<(), AssembleError> {
    let rw = instance_dir.join("rw");
    for name in ["lower", "staging", "room"] {
        detach(&rw.join(name))?;
    }
    match File::open(instance_dir) {
        Ok(dir) => {
            let gone = discard_subvolume(&dir).map_err(AssembleError::io("remove the subvolume", &rw))?;
            if !gone {
                remove_tree(&dir, b"rw").map_err(AssembleError::io("remove", &rw))?;
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(AssembleError::io("open", instance_dir)(error)),
    }
    remove_if_empty(instance_dir);
    Ok(())
}

/// Takes every mount off `path`; none, or no such directory, is fine.
pub(crate) fn detach(path: &Path) -> Result<(), AssembleError> {
    for _ in 0..MAX_STACKED {
        match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(AssembleError::io("unmount", path)(errno)),
        }
    }
    let source = io::Error::other("more mounts are stacked there than the platform ever makes");
    Err(AssembleError::io("unmount", path)(source))
}

pub(crate) fn open_dir(path: &Path) -> Result<OwnedFd, AssembleError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(AssembleError::io("open", path))
}

#[derive(Debug, PartialEq)]
pub(crate) enum Made {
    New,
    Existed,
}

pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<Made, AssembleError> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            fs::set_permissions(path, mode).map_err(AssembleError::io("set the mode of", path))?;
            Ok(Made::New)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Made::Existed),
        Err(error) => Err(AssembleError::io("create", path)(error)),
    }
}
