//! How what an instance writes is bounded, so that it finds its disk full and nobody else does.
//!
//! | driver | bound by | inside, `df /` says | per instance |
//! |--------|----------|---------------------|--------------|
//! | btrfs  | a subvolume with a limit in its quota group | the host's filesystem | two system calls |
//! | loop   | a filesystem of its own in a sparse file without a name | the instance's room | a mount, made ahead |
//! | none   | nothing | the host's filesystem | nothing |
//!
//! [`DiskQuota::Auto`] takes the first that works where the instances are. btrfs counts only if its quotas are on
//! already: turning them on changes, and slows, a filesystem that is the operator's. Project quotas of xfs and ext4
//! would be as cheap; there is no driver for them.
//!
//! What bounds an instance shows in its directory, so that one of an earlier process is measured and removed the right
//! way whatever the driver is now.

mod btrfs;
mod loopfs;
mod template;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::AssembleError;
use loopfs::LoopFs;

pub(crate) use btrfs::{discard as discard_subvolume, usage as subvolume_usage};

/// Which driver bounds what instances write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskQuota {
    /// The first of these that works.
    #[default]
    Auto,
    /// Quota groups of btrfs; they must be on (`btrfs quota enable`).
    Btrfs,
    /// A filesystem in a file for each instance; needs loop devices, ext4 and `mkfs.ext4`.
    Loop,
    /// No bound: an instance can fill the host's disk.
    None,
}

/// The driver in use. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Quota {
    driver: Arc<Driver>,
    passed_over: Vec<(&'static str, String)>,
}

#[derive(Debug, Default)]
enum Driver {
    Btrfs,
    Loop(LoopFs),
    #[default]
    None,
}

/// A driver that was asked for does not work here.
#[derive(Debug, thiserror::Error)]
#[error("the disk quota driver {name} does not work in {dir}; choose another, or let the platform choose")]
pub struct QuotaError {
    name: &'static str,
    dir: PathBuf,
    /// Why not.
    #[source]
    source: AssembleError,
}

/// Where an instance's writes go.
pub(crate) enum Room {
    /// Its directory `rw`, made.
    Directory,
    /// This detached filesystem; `rw` is made and only says so.
    Filesystem(OwnedFd),
}

impl Quota {
    /// The least an instance may have for its writes, bytes; with less its image leaves it no room.
    pub const SMALLEST: u64 = loopfs::SMALLEST;

    /// Tries drivers out in `dir`, which is on the filesystem where instances will be.
    ///
    /// # Errors
    /// When the one driver asked for does not work; never for [`DiskQuota::Auto`] and [`DiskQuota::None`].
    pub fn open(choice: DiskQuota, dir: &Path) -> Result<Self, QuotaError> {
        let btrfs = || btrfs::open(dir).map(|()| Driver::Btrfs);
        let own = || LoopFs::open(dir).map(Driver::Loop);
        let refuse = |name| {
            move |source| QuotaError {
                name,
                dir: dir.to_owned(),
                source,
            }
        };
        let mut passed_over = Vec::new();
        let driver = match choice {
            DiskQuota::None => Driver::None,
            DiskQuota::Btrfs => btrfs().map_err(refuse("btrfs"))?,
            DiskQuota::Loop => own().map_err(refuse("loop"))?,
            DiskQuota::Auto => {
                let mut attempt = |name, tried: Result<Driver, AssembleError>| {
                    tried
                        .map_err(|error| passed_over.push((name, whole(&error))))
                        .ok()
                };
                let driver = attempt("btrfs", btrfs());
                let driver = driver.or_else(|| attempt("loop", own()));
                driver.unwrap_or_default()
            }
        };
        Ok(Self {
            driver: Arc::new(driver),
            passed_over,
        })
    }

    /// The driver's name: `btrfs`, `loop` or `none`.
    pub fn driver(&self) -> &'static str {
        match *self.driver {
            Driver::Btrfs => "btrfs",
            Driver::Loop(_) => "loop",
            Driver::None => "none",
        }
    }

    /// Drivers that were tried before this one, and why they do not work here.
    pub fn passed_over(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.passed_over
            .iter()
            .map(|(name, error)| (*name, error.as_str()))
    }

    /// Makes ready what the next instances will probably need. Blocks for milliseconds.
    ///
    /// # Errors
    /// What the next instance would be told.
    pub fn stock(&self) -> Result<(), AssembleError> {
        match &*self.driver {
            Driver::Loop(loopfs) => loopfs.stock(),
            _ => Ok(()),
        }
    }

    /// Lets go of what was made ready.
    pub fn drain(&self) {
        if let Driver::Loop(loopfs) = &*self.driver {
            loopfs.drain();
        }
    }

    /// Makes the directory `rw` of an instance and room for its writes, bounded if `bytes` says so. Nothing is left
    /// after an error.
    pub(crate) fn room(&self, instance_dir: &Path, bytes: Option<u64>) -> Result<Room, AssembleError> {
        let rw = instance_dir.join("rw");
        match (&*self.driver, bytes) {
            (Driver::Btrfs, Some(bytes)) => {
                btrfs::create(instance_dir, bytes)?;
                set_mode(&rw)?;
                Ok(Room::Directory)
            }
            (Driver::Loop(loopfs), Some(bytes)) => {
                make(&rw)?;
                let room = loopfs.room(bytes);
                room.map(Room::Filesystem).inspect_err(|_| {
                    let _ = std::fs::remove_dir(&rw);
                })
            }
            _ => make(&rw).map(|()| Room::Directory),
        }
    }
}

/// An error with its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn make(rw: &Path) -> Result<(), AssembleError> {
    match std::fs::create_dir(rw) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(AssembleError::Leftover { path: rw.to_owned() })
        }
        made => {
            made.map_err(AssembleError::io("create", rw))?;
            set_mode(rw)
        }
    }
}

fn set_mode(rw: &Path) -> Result<(), AssembleError> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(rw, mode).map_err(AssembleError::io("set the mode of", rw))
}
