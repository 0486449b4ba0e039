//! The directories of an instance: what it writes, and where its root filesystem appears.
//!
//! ```text
//! <instance_dir>/rw/      0700: only root reaches what containers write
//!   upper/  work/         the overlay's; volatile, never mounted a second time
//!   lower/  staging/  l/  only while assembling on kernels before 6.13
//! ```

use std::fs::{self, DirBuilder, File};
use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags, openat, statx};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use tracing::warn;

use crate::assemble::remove_if_empty;
use crate::error::AssembleError;
use crate::inherit::Attributes;
use crate::remove::remove_tree;

/// Mounts stacked on one place that are taken off before giving up.
const MAX_STACKED: usize = 64;

/// Where an instance's writes land.
pub(crate) fn upper(instance_dir: &Path) -> PathBuf {
    instance_dir.join("rw/upper")
}

/// Fresh directories for one overlay; removed when dropped, unless kept.
pub(crate) struct Dirs {
    instance_dir: PathBuf,
    rw: OwnedFd,
}

impl Dirs {
    /// Makes them; the upper one has `root`'s attributes, which are those of the container's `/`.
    pub(crate) fn create(instance_dir: &Path, root: &Attributes) -> Result<Self, AssembleError> {
        make_dir(instance_dir, 0o711)?;
        let rw = instance_dir.join("rw");
        if make_dir(&rw, 0o700)? == Made::Existed {
            return Err(AssembleError::Leftover { path: rw });
        }
        let open = open_dir(&rw);
        let dirs = match open {
            Ok(rw) => Self {
                instance_dir: instance_dir.to_owned(),
                rw,
            },
            Err(error) => {
                remove_if_empty(&rw);
                return Err(error);
            }
        };
        for name in ["work", "upper"] {
            let path = rw.join(name);
            make_dir(&path, 0o700)?;
            let open = open_dir(&path)?;
            root.set(open.as_fd())
                .map_err(AssembleError::io("set the owner of", &path))?;
        }
        Ok(dirs)
    }

    /// The directory that holds them.
    pub(crate) fn rw(&self) -> &OwnedFd {
        &self.rw
    }

    /// Its path.
    pub(crate) fn rw_path(&self) -> PathBuf {
        self.instance_dir.join("rw")
    }

    /// Leaves them; tells the upper one's path.
    pub(crate) fn keep(mut self) -> PathBuf {
        upper(&mem::take(&mut self.instance_dir))
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
        let stat = statx(&target.fd, "", AtFlags::EMPTY_PATH, StatxFlags::empty());
        let stat = stat.map_err(AssembleError::io("look at", path))?;
        if stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
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

/// See `Rootfs::unmount`.
pub(crate) fn unmount(target: &Path) -> Result<(), AssembleError> {
    detach(target)?;
    remove_if_empty(target);
    Ok(())
}

/// See `Rootfs::discard`.
pub(crate) fn discard(instance_dir: &Path) -> Result<(), AssembleError> {
    let rw = instance_dir.join("rw");
    for name in ["lower", "staging"] {
        detach(&rw.join(name))?;
    }
    match File::open(instance_dir) {
        Ok(dir) => remove_tree(&dir, b"rw").map_err(AssembleError::io("remove", &rw))?,
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
