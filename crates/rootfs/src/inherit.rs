//! Attributes of directories that a layer implies without an entry of their own.
//!
//! A layer with `tmp/x` but no `tmp/` gets a directory `tmp` that covers the one below, and an overlay shows the
//! attributes of the topmost: `/tmp` would lose its sticky bit. Extractors that unpack onto the layers below keep
//! them. So do we: for such a directory, mode, owner and time of the next layer that has an entry for it are set in
//! the instance's upper layer. The same for `/` itself, which most layers have no entry for.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{
    Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, fchmod, fchown, fstat, futimens, openat2,
};
use rustix::io::Errno;
use tracing::warn;

use crate::assemble::IdRange;
use crate::marker::Marker;
use crate::path::prefixes;
use crate::remove::open_child;
use crate::tree::{IMPLICIT_MODE, is_opaque};

/// Most directories opened in search of attributes; about half a second. Honest images need a few hundred.
const MAX_OPENED: u64 = 200_000;

/// A layer as part of a stack.
pub(crate) struct Lower {
    pub(crate) dir: PathBuf,
    /// Path of the directory in the store.
    pub(crate) name: String,
    pub(crate) marker: Arc<Marker>,
}

/// What `ls -ld` shows of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Option<(i64, i64)>,
}

impl Attributes {
    pub(crate) fn of(dir: impl AsFd) -> Result<Self, Errno> {
        let stat = fstat(dir)?;
        let nanos = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
        let mtime = Some((stat.st_mtime, nanos));
        Ok(Self {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime,
        })
    }

    /// With the owners an instance gets; an owner outside its range becomes its root.
    pub(crate) fn shifted(&self, range: IdRange) -> Self {
        let shift = |id| range.first_host_id + if id < range.size { id } else { 0 };
        Self {
            uid: shift(self.uid),
            gid: shift(self.gid),
            ..*self
        }
    }

    /// Gives them to a directory.
    pub(crate) fn set(&self, dir: BorrowedFd<'_>) -> Result<(), Errno> {
        fchown(dir, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        fchmod(dir, Mode::from_raw_mode(self.mode))?;
        if let Some((tv_sec, tv_nsec)) = self.mtime {
            let time = Timespec { tv_sec, tv_nsec };
            futimens(
                dir,
                &Timestamps {
                    last_access: time,
                    last_modification: time,
                },
            )?;
        }
        Ok(())
    }
}

/// Attributes of `/`: of the topmost layer that has an entry for it, un-shifted.
pub(crate) fn root(lowers: &[Lower]) -> io::Result<Attributes> {
    match lowers.iter().find(|lower| lower.marker.root_explicit) {
        Some(lower) => Ok(Attributes::of(File::open(&lower.dir)?)?),
        None => Ok(Attributes {
            mode: IMPLICIT_MODE,
            uid: 0,
            gid: 0,
            // As other tools have it: not the moment of the start.
            mtime: Some((0, 0)),
        }),
    }
}

/// Sets the attributes of implied directories in `merged`, the assembled root filesystem.
pub(crate) fn apply(lowers: &[Lower], merged: BorrowedFd<'_>, range: IdRange) -> io::Result<()> {
    // Below the bottom layer there is nothing to take attributes from.
    let above_bottom = lowers.split_last().map_or(&[][..], |(_, above)| above);
    let implied: BTreeSet<&[u8]> = above_bottom
        .iter()
        .flat_map(|lower| lower.marker.implicit.iter().map(Vec::as_slice))
        .collect();
    // A directory only one layer has: so it is with everything below it.
    let mut alone: HashSet<&[u8]> = HashSet::new();
    let mut opened = 0;
    for path in implied {
        let parent = path
            .iter()
            .rposition(|b| *b == b'/')
            .and_then(|at| path.get(..at));
        if parent.is_some_and(|parent| alone.contains(parent)) {
            alone.insert(path);
            continue;
        }
        if opened > MAX_OPENED {
            warn!(
                opened,
                "the layers imply too many directories; the rest keep default attributes"
            );
            break;
        }
        match find(lowers, path, &mut opened)? {
            Found::Alone => {
                alone.insert(path);
            }
            Found::Own => {}
            Found::Below(attributes) => set(merged, path, &attributes.shifted(range))?,
        }
    }
    Ok(())
}

enum Found {
    /// No other layer shows a directory here.
    Alone,
    /// The topmost has its own attributes, or none below has any.
    Own,
    /// The topmost is implied, and these are what it covers.
    Below(Attributes),
}

/// Looks for the attributes `path` should have, from the top down, as an overlay would merge it.
fn find(lowers: &[Lower], path: &[u8], opened: &mut u64) -> io::Result<Found> {
    let mut seen = 0;
    for lower in lowers {
        let (dir, hides) = match descend(lower, path, opened)? {
            Step::Absent(Hides::Nothing) => continue,
            Step::Absent(Hides::Lower) => break,
            Step::Present(dir, hides) => (dir, hides),
        };
        seen += 1;
        if lower
            .marker
            .implicit
            .binary_search_by(|known| known.as_slice().cmp(path))
            .is_err()
        {
            return Ok(if seen == 1 {
                Found::Own
            } else {
                Found::Below(Attributes::of(&dir)?)
            });
        }
        if hides == Hides::Lower {
            break;
        }
    }
    Ok(if seen > 1 { Found::Own } else { Found::Alone })
}

#[derive(Clone, Copy, PartialEq)]
enum Hides {
    Nothing,
    /// Nothing of the layers below shows here.
    Lower,
}

enum Step {
    Absent(Hides),
    Present(OwnedFd, Hides),
}

fn descend(lower: &Lower, path: &[u8], opened: &mut u64) -> io::Result<Step> {
    let mut at: OwnedFd = File::open(&lower.dir)?.into();
    let mut hides = Hides::Nothing;
    for (_, name) in prefixes(path) {
        *opened += 1;
        if is_opaque(&at) {
            hides = Hides::Lower;
        }
        at = match open_child(&at, name) {
            Ok(child) => child,
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOENT) => return Ok(Step::Absent(hides)),
                // A whiteout, a file or a symlink stands in the way.
                Some(Errno::NOTDIR | Errno::LOOP) => return Ok(Step::Absent(Hides::Lower)),
                _ => return Err(error),
            },
        };
    }
    // That it is opaque itself concerns what lies in it, not its attributes.
    Ok(Step::Present(at, hides))
}

fn set(merged: BorrowedFd<'_>, path: &[u8], attributes: &Attributes) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(merged, path, flags, Mode::empty(), resolve) {
        Ok(dir) => Ok(attributes.set(dir.as_fd())?),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
