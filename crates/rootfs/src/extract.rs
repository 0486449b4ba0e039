//! Entries of a tar become files of a layer's directory.
//!
//! Owners, modes, times and attributes are stored as the tar has them, un-shifted; the mount translates owners later.
//! File capabilities too are stored as given: the kernel reads them through the id-mapped mount as capabilities of
//! the container's root. Of the extended attributes only `user.*`, `security.capability` and POSIX ACLs are taken:
//! `trusted.*` would let a layer forge overlay metadata, other `security.*` belongs to the host's policy. Device
//! nodes are counted, never made: nothing in a layer is a device.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod,
    fchown, fsetxattr, ftruncate, futimens, linkat, mknodat, openat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use crate::error::{TarError, UnpackError, shown};
use crate::path::EntryPath;
use crate::tar::{Entry, Extent, Kind, TarStream};
use crate::tree::{Found, Tree, lookup};
use crate::{LayerInfo, UnpackLimits};

/// Start of the name of a file that hides another; OCI image-spec, layer.md "Whiteouts".
const WHITEOUT: &[u8] = b".wh.";
/// Start of names that concern the layer itself; AUFS left them in old images.
const WHITEOUT_META: &[u8] = b".wh..wh.";
/// Hides everything the lower layers have in its directory.
const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";

/// Directories whose time is still to be set, bytes of memory. Beyond it times are set early, and files that come
/// later change them: only a hostile layer gets there.
const MAX_PENDING_BYTES: usize = 16 << 20;
/// Memory taken by one of them besides its path, about, bytes.
const DIR_TIME_BYTES: usize = 96;

/// Most hard links to files of lower layers, and most bytes of their paths together. Honest layers have none or few.
const MAX_BORROWED: usize = 4096;
const MAX_BORROWED_BYTES: usize = 1 << 20;

/// A hard link whose file is not in this layer: one of a lower layer is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Borrowed {
    pub(crate) path: Vec<u8>,
    pub(crate) target: Vec<u8>,
}

/// What came of a layer.
pub(crate) struct Extracted {
    pub(crate) info: LayerInfo,
    /// The layer says what the root directory's attributes are.
    pub(crate) root_explicit: bool,
    /// Directories without an entry, to take their attributes from lower layers; sorted.
    pub(crate) implicit: Vec<Vec<u8>>,
    /// Directories that hide those of lower layers, not marked as such yet.
    pub(crate) opaque: Vec<Vec<u8>>,
    /// Directories that hold whiteouts, not marked as such yet; sorted.
    pub(crate) whited: Vec<Vec<u8>>,
    /// In the order of the tar.
    pub(crate) borrowed: Vec<Borrowed>,
}

/// Fills `root`, an empty directory, from `tar` up to the archive's end.
pub(crate) fn extract<R: BufRead>(
    tar: &mut TarStream<R>,
    root: OwnedFd,
    limits: UnpackLimits,
) -> Result<Extracted, UnpackError> {
    let mut work = Extraction {
        tar,
        tree: Tree::new(root),
        limits,
        info: LayerInfo::default(),
        dir_times: BTreeMap::new(),
        dir_times_bytes: 0,
        root_explicit: false,
        borrowed: HashMap::new(),
        borrowed_bytes: 0,
    };
    while let Some(entry) = work.tar.next()? {
        work.info.entries += 1;
        work.entry(entry)?;
        if work.info.entries + work.tree.implicit_made() > limits.max_entries {
            return Err(UnpackError::TooManyEntries {
                limit: limits.max_entries,
            });
        }
    }
    work.finish()
}

struct Extraction<'a, R> {
    tar: &'a mut TarStream<R>,
    tree: Tree,
    limits: UnpackLimits,
    info: LayerInfo,
    /// Times of directories, set at the end: every file made inside changes them. Sorted, so that neighbours share an
    /// open parent.
    dir_times: BTreeMap<EntryPath, (i64, u32)>,
    dir_times_bytes: usize,
    root_explicit: bool,
    /// Links to files of lower layers, by path, with the number of their entry and their target.
    borrowed: HashMap<EntryPath, (u64, EntryPath)>,
    borrowed_bytes: usize,
}

impl<R: BufRead> Extraction<'_, R> {
    fn entry(&mut self, entry: Entry) -> Result<(), UnpackError> {
        let path = EntryPath::parse(&entry.path)?;
        if path.is_root() {
            return self.root(&path, &entry);
        }
        if let Some(mark) = Mark::of(&path)? {
            return self.mark(mark);
        }
        let dir = self.tree.parent(&path)?;
        self.borrowed.remove(&path);
        match &entry.kind {
            Kind::File { size, extents } => self.file(&dir, &path, &entry, (*size, extents)),
            Kind::Directory => {
                let made = self.tree.make_dir(&dir, &path)?;
                self.attributes(&made, &path, &entry)?;
                self.tree.set_explicit(&path);
                self.set_time_later(path, entry.mtime)
            }
            Kind::Symlink { target } => self.symlink(&dir, &path, &entry, target),
            Kind::HardLink { target } => self.hard_link(&dir, &path, target),
            Kind::Fifo => self.fifo(&dir, &path, &entry),
            Kind::Device => {
                self.info.devices_skipped += 1;
                Ok(())
            }
        }
    }

    fn root(&mut self, path: &EntryPath, entry: &Entry) -> Result<(), UnpackError> {
        if entry.kind != Kind::Directory {
            return Err(UnpackError::UnsafePath {
                path: shown(&entry.path),
                why: "only a directory can be the root",
            });
        }
        let root = self
            .tree
            .root()
            .try_clone()
            .map_err(UnpackError::entry("open", b"/"))?;
        self.attributes(&root, path, entry)?;
        self.root_explicit = true;
        self.set_time_later(path.clone(), entry.mtime)
    }

    fn mark(&mut self, mark: Mark) -> Result<(), UnpackError> {
        match mark {
            Mark::Ignored => Ok(()),
            Mark::Hide(path) => self.tree.whiteout(&path),
            Mark::Opaque(path) => {
                let dir = self.tree.parent(&path)?;
                self.tree.make_opaque(&dir, path.split().0)
            }
        }
    }

    fn file(
        &mut self,
        dir: &OwnedFd,
        path: &EntryPath,
        entry: &Entry,
        (size, extents): (u64, &[Extent]),
    ) -> Result<(), UnpackError> {
        let data: u64 = extents.iter().map(|e| e.len).sum();
        let limit = self.limits.max_bytes;
        let sum = self.info.bytes.checked_add(data).filter(|sum| *sum <= limit);
        self.info.bytes = sum.ok_or(UnpackError::TooLarge { limit })?;
        let (_, name) = path.split();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || openat(dir, name, flags, Mode::RUSR | Mode::WUSR);
        let made = self.replacing(dir, path, create)?;
        let mut file = File::from(made);
        for extent in extents {
            self.copy(&mut file, path, *extent)?;
        }
        // Trailing holes, and files that are one. An empty piece may mark the end without writing there.
        let last = extents.iter().rfind(|extent| extent.len > 0);
        let written = last.map_or(0, |last| last.offset + last.len);
        if written < size {
            ftruncate(&file, size).map_err(UnpackError::entry("size", path.as_bytes()))?;
        }
        self.attributes(&file, path, entry)?;
        futimens(&file, &times(entry.mtime)).map_err(UnpackError::entry("set the time of", path.as_bytes()))
    }

    fn copy(&mut self, file: &mut File, path: &EntryPath, extent: Extent) -> Result<(), UnpackError> {
        let fail = |action| UnpackError::entry::<std::io::Error>(action, path.as_bytes());
        if extent.offset > 0 {
            std::io::Seek::seek(file, std::io::SeekFrom::Start(extent.offset)).map_err(fail("size"))?;
        }
        let mut left = extent.len;
        while left > 0 {
            let piece = self.tar.data()?;
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            if len == 0 {
                return Err(TarError::Truncated.into());
            }
            file.write_all(piece.get(..len).unwrap_or_default())
                .map_err(fail("write"))?;
            self.tar.consume(len);
            left -= len as u64;
        }
        Ok(())
    }

    fn symlink(
        &mut self,
        dir: &OwnedFd,
        path: &EntryPath,
        entry: &Entry,
        target: &[u8],
    ) -> Result<(), UnpackError> {
        if target.is_empty() || target.contains(&0) {
            return Err(UnpackError::UnsafePath {
                path: shown(path.as_bytes()),
                why: "its link target is not a path",
            });
        }
        let (_, name) = path.split();
        self.replacing(dir, path, || symlinkat(target, dir, name))?;
        let fail = |action| UnpackError::entry::<Errno>(action, path.as_bytes());
        let (uid, gid) = owner(entry);
        chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(fail("set the owner of"))?;
        self.info.xattrs_skipped += entry.xattrs.len() as u64;
        utimensat(dir, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(fail("set the time of"))
    }

    fn hard_link(&mut self, dir: &OwnedFd, path: &EntryPath, target: &[u8]) -> Result<(), UnpackError> {
        let target = EntryPath::parse(target)?;
        if target == *path {
            return Ok(());
        }
        let fail = |action| UnpackError::entry::<Errno>(action, path.as_bytes());
        if target.is_root() {
            return Err(not_a_file(path));
        }
        let source_dir = match self.tree.existing_parent(&target) {
            Ok(source_dir) => source_dir,
            Err(Errno::NOENT) => return self.borrow(dir, path, target),
            Err(errno) => return Err(fail("find the link target of")(errno)),
        };
        let (source, name) = (target.split().1, path.split().1);
        if source.starts_with(WHITEOUT) {
            return Err(not_a_file(path));
        }
        match lookup(&source_dir, source) {
            Ok(Found::Nothing) => return self.borrow(dir, path, target),
            Ok(Found::Directory | Found::Whiteout) => return Err(not_a_file(path)),
            _ => {}
        }
        // Two spellings of one file, by way of a symlinked directory: replacing it would lose it.
        if same_file(&source_dir, source, dir, name) {
            return Ok(());
        }
        self.replacing(dir, path, || {
            linkat(&source_dir, source, dir, name, AtFlags::empty())
        })
    }

    /// Notes a link to a file of a lower layer: it is made when the layers below are known. Until then the name stays
    /// free.
    fn borrow(&mut self, dir: &OwnedFd, path: &EntryPath, target: EntryPath) -> Result<(), UnpackError> {
        self.borrowed_bytes += path.as_bytes().len() + target.as_bytes().len();
        if self.borrowed.len() >= MAX_BORROWED || self.borrowed_bytes > MAX_BORROWED_BYTES {
            let why = "the layer has too many hard links to files of other layers";
            return Err(UnpackError::UnsafePath {
                path: shown(path.as_bytes()),
                why,
            });
        }
        self.tree.clear(dir, path)?;
        self.borrowed.insert(path.clone(), (self.info.entries, target));
        Ok(())
    }

    fn fifo(&mut self, dir: &OwnedFd, path: &EntryPath, entry: &Entry) -> Result<(), UnpackError> {
        let (_, name) = path.split();
        self.replacing(dir, path, || mknodat(dir, name, FileType::Fifo, Mode::RUSR, 0))?;
        let fail = |action| UnpackError::entry::<Errno>(action, path.as_bytes());
        let (uid, gid) = owner(entry);
        chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(fail("set the owner of"))?;
        chmodat(dir, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
            .map_err(fail("set the mode of"))?;
        self.info.xattrs_skipped += entry.xattrs.len() as u64;
        utimensat(dir, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(fail("set the time of"))
    }

    /// Makes something new under a name: what is there goes first, it is never written through.
    fn replacing<T>(
        &mut self,
        dir: &OwnedFd,
        path: &EntryPath,
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, UnpackError> {
        let result = match make() {
            Err(Errno::EXIST) => {
                self.tree.clear(dir, path)?;
                make()
            }
            result => result,
        };
        result.map_err(UnpackError::entry("create", path.as_bytes()))
    }

    /// Owner, then mode (a change of owner drops setuid), then attributes (it drops capabilities as well).
    fn attributes(&mut self, file: impl AsFd, path: &EntryPath, entry: &Entry) -> Result<(), UnpackError> {
        let fail = |action| UnpackError::entry::<Errno>(action, path.as_bytes());
        let (uid, gid) = owner(entry);
        fchown(&file, uid, gid).map_err(fail("set the owner of"))?;
        fchmod(&file, Mode::from_raw_mode(entry.mode)).map_err(fail("set the mode of"))?;
        for (name, value) in &entry.xattrs {
            if !is_allowed(name) {
                self.info.xattrs_skipped += 1;
                continue;
            }
            match fsetxattr(&file, name.as_slice(), value, XattrFlags::empty()) {
                Ok(()) => {}
                // The store's filesystem has no such attributes.
                Err(Errno::OPNOTSUPP) => self.info.xattrs_skipped += 1,
                Err(errno) => return Err(fail("set an extended attribute of")(errno)),
            }
        }
        Ok(())
    }

    fn set_time_later(&mut self, path: EntryPath, mtime: (i64, u32)) -> Result<(), UnpackError> {
        self.dir_times_bytes += path.as_bytes().len() + DIR_TIME_BYTES;
        self.dir_times.insert(path, mtime);
        if self.dir_times_bytes > MAX_PENDING_BYTES {
            self.set_dir_times()
        } else {
            Ok(())
        }
    }

    fn set_dir_times(&mut self) -> Result<(), UnpackError> {
        self.dir_times_bytes = 0;
        for (path, mtime) in std::mem::take(&mut self.dir_times) {
            if path.is_root() {
                futimens(self.tree.root(), &times(mtime))
                    .map_err(UnpackError::entry("set the time of", b"/"))?;
                continue;
            }
            // A later entry may have replaced the directory, or one above it.
            let Ok(dir) = self.tree.existing_parent(&path) else {
                continue;
            };
            let (_, name) = path.split();
            if lookup(&dir, name) == Ok(Found::Directory) {
                utimensat(&dir, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(UnpackError::entry("set the time of", path.as_bytes()))?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Extracted, UnpackError> {
        let opaque = self.tree.take_opaque()?;
        let whited = self.tree.take_whited();
        self.set_dir_times()?;
        let implicit = self.tree.into_implicit().into_iter().collect();
        let mut borrowed: Vec<_> = self.borrowed.into_iter().collect();
        borrowed.sort_unstable_by_key(|(_, (number, _))| *number);
        let borrowed = borrowed.into_iter().map(|(path, (_, target))| Borrowed {
            path: path.as_bytes().to_vec(),
            target: target.as_bytes().to_vec(),
        });
        Ok(Extracted {
            info: self.info,
            root_explicit: self.root_explicit,
            implicit,
            opaque,
            whited,
            borrowed: borrowed.collect(),
        })
    }
}

/// An entry that is not a file but speaks about lower layers.
#[derive(Debug, PartialEq)]
enum Mark {
    /// Hides this path of the lower layers.
    Hide(EntryPath),
    /// Hides what lower layers have in the directory this path lies in.
    Opaque(EntryPath),
    /// Bookkeeping of another storage driver.
    Ignored,
}

impl Mark {
    fn of(path: &EntryPath) -> Result<Option<Self>, UnpackError> {
        let (dir, name) = path.split();
        if name == WHITEOUT_OPAQUE {
            return Ok(Some(Self::Opaque(path.clone())));
        }
        if path
            .as_bytes()
            .split(|b| *b == b'/')
            .any(|name| name.starts_with(WHITEOUT_META))
        {
            return Ok(Some(Self::Ignored));
        }
        let Some(hidden) = name.strip_prefix(WHITEOUT) else {
            return Ok(None);
        };
        let hidden = [dir, hidden].join(&b'/');
        let clean = EntryPath::parse(&hidden)?;
        // An empty name, or ".", would hide the directory itself.
        if clean.as_bytes().len() != hidden.len() - usize::from(dir.is_empty()) || clean.as_bytes() == dir {
            return Err(UnpackError::UnsafePath {
                path: shown(path.as_bytes()),
                why: "the whiteout names nothing",
            });
        }
        Ok(Some(Self::Hide(clean)))
    }
}

fn not_a_file(path: &EntryPath) -> UnpackError {
    UnpackError::UnsafePath {
        path: shown(path.as_bytes()),
        why: "it is a hard link to something that is not a file",
    }
}

fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
}

fn times((tv_sec, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec {
        tv_sec,
        tv_nsec: nanos.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn same_file(dir: &OwnedFd, name: &[u8], other_dir: &OwnedFd, other: &[u8]) -> bool {
    let stat = |dir, name| statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map(|s| (s.st_dev, s.st_ino));
    stat(dir, name).is_ok_and(|one| stat(other_dir, other) == Ok(one))
}

fn is_allowed(xattr: &[u8]) -> bool {
    xattr.starts_with(b"user.")
        || matches!(
            xattr,
            b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_told_from_files_by_prefix_only() {
        let of = |text: &str| Mark::of(&EntryPath::parse(text.as_bytes()).unwrap());
        let path = |text: &str| EntryPath::parse(text.as_bytes()).unwrap();
        assert_eq!(of("a/.wh.b").unwrap(), Some(Mark::Hide(path("a/b"))));
        assert_eq!(of(".wh.b").unwrap(), Some(Mark::Hide(path("b"))));
        assert_eq!(
            of("a/.wh..wh..opq").unwrap(),
            Some(Mark::Opaque(path("a/.wh..wh..opq")))
        );
        assert_eq!(of(".wh..wh.plnk/1.2").unwrap(), Some(Mark::Ignored));
        assert_eq!(
            of("a.wh.b").unwrap(),
            None,
            "the reference takes this for a whiteout"
        );
        for nothing in ["a/.wh.", "a/.wh..", "a/.wh...", ".wh.", ".wh.."] {
            assert!(of(nothing).is_err(), "{nothing}");
        }
    }
}
