//! What a layer says by way of the layers below it, made explicit.
//!
//! Two things a tar may say cannot be known from its layer alone. Below a symlink `bin -> usr/bin`, an entry `bin/x`
//! without one for `bin/` means `usr/bin/x`: extractors that unpack onto the layers below follow the link, while the
//! directory `bin` that the layer implies would hide it in an overlay. And a hard link may name a file of a lower
//! layer. For such a layer a graft is made: a small layer of its own, stacked right above, in which the implied
//! directory is the symlink again, its content lies where the symlink leads, and the links are made. Files are hard
//! links, so a graft costs no space.
//!
//! Grafts lie in `grafts/<layer>/<stack>` of the store, beside a marker `<stack>.meta`. They are made when an image
//! is first assembled, live as long as the layer, and are made again after a boot. All names come from images:
//! symlinks are resolved here, name by name within the stack, and never by the kernel.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use model::Digest;
use rustix::fs::{
    AtFlags, Dir, Mode, Timespec, Timestamps, XattrFlags, chownat, fchmod, fgetxattr, flistxattr, fsetxattr,
    linkat, mkdirat, readlinkat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use tracing::{debug, warn};

use crate::draft::Draft;
use crate::error::AssembleError;
use crate::inherit::{Attributes, Lower};
use crate::marker::{Durability, Marker};
use crate::path::prefixes;
use crate::remove::{open_child, remove_tree};
use crate::stack::{Seen, Stack};
use crate::store::LayerStore;
use crate::tree::{IMPLICIT_MODE, child_path};

/// Most files and directories of one graft: about two seconds of work, once.
const MAX_ENTRIES: u64 = 100_000;

/// One graft is made at a time.
static MAKING: Mutex<()> = Mutex::new(());

/// Where grafts are kept.
pub(crate) struct Shelf<'a> {
    /// The store.
    pub(crate) dir: &'a Path,
    /// This boot's id.
    pub(crate) boot: &'a str,
}

/// Stacks the grafts that are needed above their layers. `lowers` and the result are top first.
pub(crate) fn complete(store: &LayerStore, lowers: Vec<Lower>) -> Result<Vec<Lower>, AssembleError> {
    let shelf = Shelf {
        dir: &store.0.dir,
        boot: &store.0.boot,
    };
    complete_on(&shelf, lowers)
}

/// As [`complete`], without a store.
pub(crate) fn complete_on(store: &Shelf<'_>, mut lowers: Vec<Lower>) -> Result<Vec<Lower>, AssembleError> {
    lowers.reverse();
    let mut done: Vec<Lower> = Vec::with_capacity(lowers.len());
    for lower in lowers {
        let speaks = !lower.marker.implicit.is_empty() || !lower.marker.borrowed.is_empty();
        let bottom = done.is_empty();
        done.push(lower);
        if speaks && !(bottom && done.iter().all(|lower| lower.marker.borrowed.is_empty())) {
            done.extend(graft(store, &done)?);
        }
    }
    done.reverse();
    Ok(done)
}

/// Forgets the grafts of a layer that is going to be removed.
pub(crate) fn forget(store: &Path, diff_id: &Digest) -> io::Result<()> {
    remove_tree(File::open(store.join("grafts"))?, diff_id.hex().as_bytes())
}

/// Removes grafts of layers that are no more, of other boots and those that were not completed.
pub(crate) fn sweep(store: &Path, boot: &str, is_kept: impl Fn(&str) -> bool) -> io::Result<()> {
    let grafts = store.join("grafts");
    for layer in fs::read_dir(&grafts)? {
        let layer = layer?;
        if !is_kept(&layer.file_name().to_string_lossy()) {
            remove_tree(File::open(&grafts)?, layer.file_name().as_encoded_bytes())?;
            continue;
        }
        for name in fs::read_dir(layer.path())? {
            let name = name?.file_name();
            let key = Path::new(&name).with_extension("");
            if read(&layer.path().join(key), boot).is_none() {
                remove_tree(File::open(layer.path())?, name.as_encoded_bytes())?;
            }
        }
    }
    Ok(())
}

/// The graft of the topmost of `stack`, bottom first, if it needs one.
fn graft(store: &Shelf<'_>, stack: &[Lower]) -> Result<Option<Lower>, AssembleError> {
    let Some((own, below)) = stack.split_last() else {
        return Ok(None);
    };
    let fail = |source| failed(own, source);
    let digest = own.name.rsplit('/').next().unwrap_or_default();
    let name = format!("grafts/{digest}/{}", key(stack));
    let dir = store.dir.join(&name);
    let boot = store.boot;
    if let Some(marker) = read(&dir, boot) {
        return Ok(Some(Lower { dir, name, marker }));
    }
    let moved = moved(own, &Stack::of(below)).map_err(fail)?;
    if moved.is_empty() && own.marker.borrowed.is_empty() {
        return Ok(None);
    }
    let _making = MAKING.lock().expect("no holder of this lock panics");
    if let Some(marker) = read(&dir, boot) {
        return Ok(Some(Lower { dir, name, marker }));
    }
    let draft = Draft::anonymous(store.dir).map_err(|error| failed(own, io::Error::other(error)))?;
    let mut growth = Growth {
        own,
        below: Stack::of(below),
        root: File::open(draft.path()).map_err(fail)?.into(),
        dir: draft.path(),
        implicit: BTreeSet::new(),
        explicit: BTreeMap::new(),
        entries: 0,
    };
    growth.grow(moved)?;
    let marker = growth.finish(boot).map_err(fail)?;
    keep(draft, &marker, &dir).map_err(fail)?;
    debug!(layer = digest, "made what the layer says by way of those below");
    Ok(Some(Lower {
        dir,
        name,
        marker: Arc::new(marker),
    }))
}

/// Tells stacks apart.
fn key(stack: &[Lower]) -> String {
    let mut hash = Sha256::new();
    for lower in stack {
        hash.update(lower.name.as_bytes());
        hash.update(b"\n");
    }
    hex::encode(hash.finalize())
}

fn meta(dir: &Path) -> PathBuf {
    dir.with_extension("meta")
}

/// The marker of a complete graft of this boot.
fn read(dir: &Path, boot: &str) -> Option<Arc<Marker>> {
    let marker = Marker::read(&meta(dir)).ok().flatten()?;
    let fresh = matches!(&marker.durability, Durability::ThisBoot(written) if written == boot);
    (fresh && dir.is_dir()).then(|| Arc::new(marker))
}

fn keep(draft: Draft, marker: &Marker, dir: &Path) -> io::Result<()> {
    let parent = dir.parent().unwrap_or(dir);
    fs::create_dir_all(parent)?;
    // One without a marker, of a process that died.
    if let Some(name) = dir.file_name() {
        remove_tree(File::open(parent)?, name.as_encoded_bytes())?;
    }
    fs::rename(draft.path(), dir)?;
    marker.write(&dir.with_extension("draft"), &meta(dir))
}

fn failed(own: &Lower, source: io::Error) -> AssembleError {
    AssembleError::io("complete the layer in", &own.dir)(source)
}

/// Where implied directories of `own` lie that the layers below know as symlinks: path and where it leads.
fn moved(own: &Lower, below: &Stack<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut moved: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut alone: HashSet<&[u8]> = HashSet::new();
    for path in &own.marker.implicit {
        let parents = || {
            prefixes(path)
                .map(|(prefix, _)| prefix)
                .filter(|prefix| *prefix != path.as_slice())
        };
        if parents().any(|parent| alone.contains(parent) || moved.iter().any(|(from, _)| from == parent)) {
            continue;
        }
        if below.is_exhausted() {
            warn!(
                layer = own.name,
                "the layer implies too many directories; symlinks below them may be hidden"
            );
            break;
        }
        match below.look(path)? {
            Seen::Nothing | Seen::File => {
                alone.insert(path);
            }
            Seen::Directory => {}
            Seen::Symlink { .. } if Stack::of(std::slice::from_ref(own)).hides(path)? => {}
            Seen::Symlink { .. } => {
                if let Some(leads) = below.resolve(path)? {
                    moved.push((path.clone(), leads));
                }
            }
        }
    }
    Ok(moved)
}

/// A graft being made.
struct Growth<'a> {
    own: &'a Lower,
    below: Stack<'a>,
    root: OwnedFd,
    dir: PathBuf,
    implicit: BTreeSet<Vec<u8>>,
    /// Directories with attributes of the layer's own, set at the end.
    explicit: BTreeMap<Vec<u8>, Attributes>,
    entries: u64,
}

impl Growth<'_> {
    fn grow(&mut self, moved: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), AssembleError> {
        let mut todo = Vec::new();
        for (path, leads) in moved {
            self.symlink(&path).map_err(|source| failed(self.own, source))?;
            todo.push((path, leads));
        }
        while let Some((from, to)) = todo.pop() {
            let more = self
                .transplant(&from, &to)
                .map_err(|source| failed(self.own, source))?;
            todo.extend(more);
            if self.entries > MAX_ENTRIES {
                return Err(failed(
                    self.own,
                    io::Error::other("it has more than 100000 files below symlinks of other layers"),
                ));
            }
        }
        for link in &self.own.marker.borrowed {
            if !self
                .borrow(&link.path, &link.target)
                .map_err(|source| failed(self.own, source))?
            {
                return Err(AssembleError::MissingLink {
                    layer: self.own.dir.clone(),
                    path: crate::error::shown(&link.path),
                    target: crate::error::shown(&link.target),
                });
            }
        }
        Ok(())
    }

    /// A directory of the graft, made where it is missing.
    fn place(&mut self, path: &[u8]) -> io::Result<OwnedFd> {
        let mut at = self.root.try_clone()?;
        for (prefix, name) in prefixes(path) {
            match mkdirat(&at, name, Mode::RWXU) {
                Ok(()) => {
                    self.entries += 1;
                    self.implicit.insert(prefix.to_vec());
                    let made = open_child(&at, name)?;
                    fchmod(&made, Mode::from_raw_mode(IMPLICIT_MODE))?;
                    at = made;
                }
                Err(Errno::EXIST) => at = open_child(&at, name)?,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(at)
    }

    /// Shows the symlink below again, which the layer's directory covers.
    fn symlink(&mut self, path: &[u8]) -> io::Result<()> {
        let Seen::Symlink { dir, name } = self.below.look(path)? else {
            return Ok(());
        };
        let parent = self.place(split(path).0)?;
        let target = readlinkat(&dir, name.as_slice(), Vec::new())?;
        let stat = statat(&dir, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
        symlinkat(target.as_c_str(), &parent, name.as_slice())?;
        let (uid, gid) = (
            rustix::fs::Uid::from_raw(stat.st_uid),
            rustix::fs::Gid::from_raw(stat.st_gid),
        );
        chownat(
            &parent,
            name.as_slice(),
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        let time = Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        Ok(utimensat(
            &parent,
            name.as_slice(),
            &times,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Puts what the layer has in directory `from` into `to`; gives the directories in it, to be treated likewise.
    fn transplant(&mut self, from: &[u8], to: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let Some(source) = Stack::of(std::slice::from_ref(self.own)).open(from)? else {
            return Ok(Vec::new());
        };
        let place = match self.place(to) {
            Ok(place) => place,
            // A symlink or a file that another part of the layer put there.
            Err(error) if is_in_the_way(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        copy_attributes(&source, &place)?;
        if !self.is_implied(from) {
            self.explicit.insert(to.to_vec(), Attributes::of(&source)?);
        }
        let mut directories = Vec::new();
        for entry in Dir::read_from(&source)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            self.entries += 1;
            let (inner, mut outer) = (child_path(from, name), child_path(to, name));
            if entry.file_type().is_dir() {
                if self.is_implied(&inner) && matches!(self.below.look(&outer)?, Seen::Symlink { .. }) {
                    outer = self.below.resolve(&outer)?.unwrap_or(outer);
                }
                directories.push((inner, outer));
                continue;
            }
            replace(&place, name, || {
                linkat(&source, name, &place, name, AtFlags::empty())
            })?;
        }
        Ok(directories)
    }

    fn is_implied(&self, path: &[u8]) -> bool {
        let known = &self.own.marker.implicit;
        known.binary_search_by(|known| known.as_slice().cmp(path)).is_ok()
    }

    /// Makes a link to a file of the stack; false when there is no such file.
    fn borrow(&mut self, path: &[u8], target: &[u8]) -> io::Result<bool> {
        let graft = Lower {
            dir: self.dir.clone(),
            name: String::new(),
            marker: Arc::clone(&self.own.marker),
        };
        let stack = self.below.with(self.own).with(&graft);
        let ((dir, name), (target_dir, target_name)) = (split(path), split(target));
        let (Some(dir), Some(target_dir)) = (stack.resolve(dir)?, stack.resolve(target_dir)?) else {
            return Ok(false);
        };
        let Some((source, _)) = stack.file(&child_path(&target_dir, target_name))? else {
            return Ok(false);
        };
        let place = self.place(&dir)?;
        self.entries += 1;
        replace(&place, name, || {
            linkat(&source, target_name, &place, name, AtFlags::empty())
        })?;
        Ok(true)
    }

    fn finish(self, boot: &str) -> io::Result<Marker> {
        let mut implicit = self.implicit;
        for (path, attributes) in &self.explicit {
            implicit.remove(path);
            let mut at = self.root.try_clone()?;
            for (_, name) in prefixes(path) {
                at = open_child(&at, name)?;
            }
            attributes.set(at.as_fd())?;
        }
        Ok(Marker {
            durability: Durability::ThisBoot(boot.to_owned()),
            info: crate::LayerInfo::default(),
            origins: crate::origin::Origins::default(),
            root_explicit: false,
            implicit: implicit.into_iter().collect(),
            borrowed: Vec::new(),
        })
    }
}

/// Directory and last name of a clean path.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (
            path.get(..at).unwrap_or_default(),
            path.get(at + 1..).unwrap_or_default(),
        ),
        None => (&[], path),
    }
}

fn is_in_the_way(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOTDIR | Errno::LOOP))
}

/// Makes something under a name that may be taken; a directory that has it stays.
fn replace(dir: &OwnedFd, name: &[u8], make: impl Fn() -> Result<(), Errno>) -> io::Result<()> {
    match make() {
        Err(Errno::EXIST) => match unlinkat(dir, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => Ok(()),
            result => Ok(result.and_then(|()| make())?),
        },
        result => Ok(result?),
    }
}

/// Extended attributes, the mark of an opaque directory among them.
fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut names = vec![0u8; 1 << 16];
    let len = match flistxattr(from, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        result => result?,
    };
    let mut value = vec![0u8; 1 << 16];
    for name in names
        .get(..len)
        .unwrap_or_default()
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty())
    {
        let len = fgetxattr(from, name, &mut value[..])?;
        fsetxattr(
            to,
            name,
            value.get(..len).unwrap_or_default(),
            XattrFlags::empty(),
        )?;
    }
    Ok(())
}
