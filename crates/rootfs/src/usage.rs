//! How much an instance has written: what its quota says, or without one a walk of its upper directory.
//!
//! The container may write while the walk runs, and may try to hurt it: symlinks are not followed, depth and number
//! of entries are bounded, one descriptor per level is open.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, fstatvfs, openat, statat};
use rustix::io::Errno;

use crate::error::UsageError;
use crate::instance::is_mounted;
use crate::remove::open_child;

/// Deepest directory followed; honest trees stay far below.
const MAX_DEPTH: usize = 128;
/// Most entries counted.
const MAX_ENTRIES: u64 = 2_000_000;
/// Unit of `st_blocks`, bytes; stat(2).
const BLOCK: u64 = 512;

/// Bytes on disk of what an instance wrote; 0 when it does not exist.
pub(crate) fn usage(instance_dir: &Path, target: &Path) -> Result<u64, UsageError> {
    let rw = instance_dir.join("rw");
    if let Some(bytes) = crate::quota::subvolume_usage(&rw) {
        return Ok(bytes);
    }
    let upper = rw.join("upper");
    if upper.exists() || !rw.exists() {
        return walk(&upper);
    }
    own_filesystem(target).map_err(|source| UsageError::Io {
        path: target.to_owned(),
        source,
    })
}

/// An overlay answers for the filesystem of its upper directory.
fn own_filesystem(target: &Path) -> io::Result<u64> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = match openat(CWD, target, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(0),
        opened => opened?,
    };
    if !is_mounted(&target)? {
        return Ok(0);
    }
    let stat = fstatvfs(&target)?;
    Ok(stat.f_blocks.saturating_sub(stat.f_bfree) * stat.f_frsize)
}

/// Bytes on disk below `upper`, hard links counted once; 0 when it does not exist.
fn walk(upper: &Path) -> Result<u64, UsageError> {
    let failed = |source| UsageError::Io {
        path: upper.to_owned(),
        source,
    };
    let top: OwnedFd = match File::open(upper) {
        Ok(open) => open.into(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(failed(error)),
    };
    let mut walk = Walk {
        bytes: 0,
        entries: 0,
        linked: HashSet::new(),
    };
    walk.add(&fstat(&top).map_err(|errno| failed(errno.into()))?);
    match walk.dir(&top, 0) {
        Ok(()) => Ok(walk.bytes),
        Err(Stop::TooDeep) => Err(UsageError::TooDeep {
            path: upper.to_owned(),
            limit: MAX_DEPTH,
        }),
        Err(Stop::TooMany) => Err(UsageError::TooManyEntries {
            path: upper.to_owned(),
            limit: MAX_ENTRIES,
        }),
        Err(Stop::Io(error)) => Err(failed(error)),
    }
}

enum Stop {
    TooDeep,
    TooMany,
    Io(io::Error),
}

struct Walk {
    bytes: u64,
    entries: u64,
    /// Inodes with several names, already counted.
    linked: HashSet<u64>,
}

impl Walk {
    fn dir(&mut self, dir: &OwnedFd, depth: usize) -> Result<(), Stop> {
        if depth > MAX_DEPTH {
            return Err(Stop::TooDeep);
        }
        for entry in Dir::read_from(dir).map_err(|errno| Stop::Io(errno.into()))? {
            let entry = entry.map_err(|errno| Stop::Io(errno.into()))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(Stop::TooMany);
            }
            let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                // Deleted since the directory was read.
                Err(Errno::NOENT) => continue,
                result => result.map_err(|errno| Stop::Io(errno.into()))?,
            };
            self.add(&stat);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                match open_child(dir, name) {
                    Ok(child) => self.dir(&child, depth + 1)?,
                    // Gone, or replaced by something that is no directory.
                    Err(error) if is_gone(&error) => {}
                    Err(error) => return Err(Stop::Io(error)),
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, stat: &Stat) {
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_dir || stat.st_nlink < 2 || self.linked.insert(stat.st_ino) {
            self.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK;
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}
