//! How much an instance has written: a walk of its upper directory.
//!
//! The container may write while the walk runs, and may try to hurt it: symlinks are not followed, depth and number
//! of entries are bounded, one descriptor per level is open.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Stat, fstat, statat};
use rustix::io::Errno;

use crate::error::UsageError;
use crate::remove::open_child;

/// Deepest directory followed; honest trees stay far below.
const MAX_DEPTH: usize = 128;
/// Most entries counted.
const MAX_ENTRIES: u64 = 2_000_000;
/// Unit of `st_blocks`, bytes; stat(2).
const BLOCK: u64 = 512;

/// Bytes on disk below `upper`, hard links counted once; 0 when it does not exist.
pub(crate) fn usage(upper: &Path) -> Result<u64, UsageError> {
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
