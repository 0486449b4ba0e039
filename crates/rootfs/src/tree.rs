//! The directory a layer is unpacked into: every operation names a place beneath its root, and the kernel keeps it so.
//!
//! Parents are opened with `openat2`, beneath the root, without symlinks. Where an earlier entry of the same layer
//! made a parent a symlink, it is followed as if the layer's directory were `/` (RESOLVE_IN_ROOT): that is what a
//! tar extracted in a chroot gives, and it cannot leave the directory. The last component is never followed.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawMode, ResolveFlags, Stat, XattrFlags, chmodat, fsetxattr, makedev,
    mkdirat, mknodat, openat2, readlinkat, statat, unlinkat,
};
use rustix::io::Errno;

use crate::error::UnpackError;
use crate::path::EntryPath;
use crate::remove::{open_child, remove_tree};

/// Open parent directories kept.
const CACHED_PARENTS: usize = 64;
/// Most directories without an entry that are remembered.
const MAX_IMPLICIT: usize = 20_000;
/// Bound on their paths together, bytes.
const MAX_IMPLICIT_BYTES: usize = 8 << 20;
/// Most symlinks on the way to one directory, as the kernel's.
pub(crate) const MAX_LINKS: usize = 40;
/// Longest target of such a symlink with the path it is met on, bytes.
pub(crate) const MAX_TARGET: usize = 8192;
/// Mode of a directory that has no entry of its own.
pub(crate) const IMPLICIT_MODE: RawMode = 0o755;
/// Marks a directory that may hold whiteouts; empty, it says nothing else.
const ORIGIN: &str = "trusted.overlay.origin";
/// Marks a directory that hides the one of the same name in lower layers; kernel overlayfs documentation.
const OPAQUE: &str = "trusted.overlay.opaque";
/// Stands for that attribute until the layer is complete: who unpacks has no right to set it. No entry can have the
/// name, which only ever speaks about its directory, and the mark goes where the directory goes.
const OPAQUE_MARK: &[u8] = b".wh..wh..opq";
/// Most opaque directories of a layer, and their paths together, bytes.
const MAX_OPAQUE: usize = 20_000;
const MAX_OPAQUE_BYTES: usize = 4 << 20;

/// A layer's directory while it is filled.
pub(crate) struct Tree {
    root: Rc<OwnedFd>,
    parents: HashMap<Vec<u8>, Rc<OwnedFd>>,
    implicit: BTreeSet<Vec<u8>>,
    implicit_bytes: usize,
    made: u64,
    /// Paths of directories that got an [`OPAQUE_MARK`].
    opaque: Vec<Vec<u8>>,
    opaque_bytes: usize,
    /// Paths of directories that got a whiteout.
    whited: BTreeSet<Vec<u8>>,
    whited_bytes: usize,
}

impl Tree {
    /// Starts with an open, empty directory.
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self {
            root: Rc::new(root),
            parents: HashMap::new(),
            implicit: BTreeSet::new(),
            implicit_bytes: 0,
            made: 0,
            opaque: Vec::new(),
            opaque_bytes: 0,
            whited: BTreeSet::new(),
            whited_bytes: 0,
        }
    }

    /// The root itself.
    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// How many directories were made without an entry of their own.
    pub(crate) fn implicit_made(&self) -> u64 {
        self.made
    }

    /// Directories that never got an entry of their own: their attributes should come from lower layers.
    pub(crate) fn into_implicit(self) -> BTreeSet<Vec<u8>> {
        self.implicit
    }

    /// Says that `path` has an entry, so that its attributes are the layer's own.
    pub(crate) fn set_explicit(&mut self, path: &EntryPath) {
        if self.implicit.is_empty() || self.implicit.remove(path.as_bytes()) {
            return;
        }
        // It may be known by another path, without the symlinks of this one.
        if open_strictly(&self.root, path.as_bytes()).is_err()
            && let Ok((real, _)) = self.walk(path.as_bytes())
        {
            self.implicit.remove(&real);
        }
    }

    /// The directory `path` lies in, made where it is missing.
    pub(crate) fn parent(&mut self, path: &EntryPath) -> Result<Rc<OwnedFd>, UnpackError> {
        match self.existing_parent(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => {
                let (dir, _) = path.split();
                let made = self.make_dirs(dir)?;
                self.remember(dir, &made);
                Ok(made)
            }
            result => result.map_err(UnpackError::entry("open the directory of", path.as_bytes())),
        }
    }

    /// The directory `path` lies in, which must exist.
    pub(crate) fn existing_parent(&mut self, path: &EntryPath) -> Result<Rc<OwnedFd>, Errno> {
        let (dir, _) = path.split();
        if dir.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some(open) = self.parents.get(dir) {
            return Ok(Rc::clone(open));
        }
        let open = Rc::new(open_dir(&self.root, dir)?);
        self.remember(dir, &open);
        Ok(open)
    }

    fn remember(&mut self, dir: &[u8], open: &Rc<OwnedFd>) {
        if self.parents.len() >= CACHED_PARENTS {
            self.parents.clear();
        }
        self.parents.insert(dir.to_vec(), Rc::clone(open));
    }

    /// Removes whatever has this name, a whole tree if need be. Later entries win.
    pub(crate) fn clear(&mut self, dir: &OwnedFd, path: &EntryPath) -> Result<(), UnpackError> {
        let (_, name) = path.split();
        match lookup(dir, name) {
            Ok(Found::Nothing) => return Ok(()),
            // An open directory below, or one reached through the symlink, is no longer what its path says.
            Ok(Found::Directory | Found::Symlink) => self.parents.clear(),
            Ok(Found::Whiteout | Found::Other) => {}
            Err(errno) => return Err(UnpackError::entry("look at", path.as_bytes())(errno)),
        }
        remove_tree(dir, name).map_err(UnpackError::entry("replace", path.as_bytes()))
    }

    /// Makes a directory, or keeps the one that is there; a directory over a whiteout hides the lower one.
    pub(crate) fn make_dir(&mut self, dir: &OwnedFd, path: &EntryPath) -> Result<OwnedFd, UnpackError> {
        let (_, name) = path.split();
        let fail = |action| UnpackError::entry::<Errno>(action, path.as_bytes());
        let mut opaque = false;
        match mkdirat(dir, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => match lookup(dir, name).map_err(fail("look at"))? {
                Found::Directory => {}
                found => {
                    opaque = found == Found::Whiteout;
                    self.clear(dir, path)?;
                    mkdirat(dir, name, Mode::RWXU).map_err(fail("create"))?;
                }
            },
            Err(errno) => return Err(fail("create")(errno)),
        }
        let made = open_child(dir, name).map_err(UnpackError::entry("open", path.as_bytes()))?;
        if opaque {
            self.mark_opaque(&made, path.as_bytes())?;
        }
        Ok(made)
    }

    /// Hides `name` of the lower layers. What this layer itself has under the name stays visible (OCI image-spec,
    /// layer.md "Whiteouts"), a directory as an opaque one.
    pub(crate) fn whiteout(&mut self, path: &EntryPath) -> Result<(), UnpackError> {
        let dir = self.parent(path)?;
        let (_, name) = path.split();
        let fail = |action| UnpackError::entry::<Errno>(action, path.as_bytes());
        match lookup(&dir, name).map_err(fail("look at"))? {
            Found::Whiteout | Found::Symlink | Found::Other => Ok(()),
            Found::Directory => {
                let own = open_child(&dir, name).map_err(UnpackError::entry("open", path.as_bytes()))?;
                self.make_opaque(&own, path.as_bytes())
            }
            // Nothing of lower layers shows through an opaque directory: a whiteout would only be seen in listings.
            Found::Nothing if lookup(&dir, OPAQUE_MARK) == Ok(Found::Other) => Ok(()),
            Found::Nothing => {
                let device = makedev(0, 0);
                mknodat(&dir, name, FileType::CharacterDevice, Mode::empty(), device)
                    .map_err(fail("white out"))?;
                self.note_whited(path.split().0);
                Ok(())
            }
        }
    }

    /// One directory more than are remembered only shows names that nobody can open.
    fn note_whited(&mut self, dir: &[u8]) {
        if self.whited.len() < MAX_OPAQUE
            && self.whited_bytes <= MAX_OPAQUE_BYTES
            && !self.whited.contains(dir)
        {
            self.whited_bytes += dir.len();
            self.whited.insert(dir.to_vec());
        }
    }

    /// Directories that got whiteouts and still are there.
    pub(crate) fn take_whited(&mut self) -> Vec<Vec<u8>> {
        let whited = std::mem::take(&mut self.whited).into_iter();
        whited
            .filter(|path| open_strictly(&self.root, path).is_ok())
            .collect()
    }

    /// Hides everything the lower layers have in `dir`, which is at `path`.
    pub(crate) fn make_opaque(&mut self, dir: &OwnedFd, path: &[u8]) -> Result<(), UnpackError> {
        self.mark_opaque(dir, path)?;
        let fail = || UnpackError::entry::<Errno>("remove whiteouts from", path);
        for entry in rustix::fs::Dir::read_from(dir).map_err(fail())? {
            let entry = entry.map_err(fail())?;
            if entry.file_type() == FileType::CharacterDevice {
                unlinkat(dir, entry.file_name(), AtFlags::empty()).map_err(fail())?;
            }
        }
        Ok(())
    }

    fn mark_opaque(&mut self, dir: &OwnedFd, path: &[u8]) -> Result<(), UnpackError> {
        // The path must still lead there in the end; one with symlinks may not.
        let real = match open_strictly(&self.root, path) {
            Ok(_) => path.to_vec(),
            Err(_) => self.walk(path)?.0,
        };
        match mknodat(dir, OPAQUE_MARK, FileType::RegularFile, Mode::empty(), 0) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(()),
            Err(errno) => return Err(UnpackError::entry("mark opaque", path)(errno)),
        }
        self.opaque_bytes += real.len();
        if self.opaque.len() >= MAX_OPAQUE || self.opaque_bytes > MAX_OPAQUE_BYTES {
            return Err(UnpackError::UnsafePath {
                path: crate::error::shown(path),
                why: "more than 20000 directories of the layer hide those of lower layers",
            });
        }
        self.opaque.push(real);
        Ok(())
    }

    /// Takes the marks away and tells which directories are opaque in the end.
    pub(crate) fn take_opaque(&mut self) -> Result<Vec<Vec<u8>>, UnpackError> {
        let mut opaque = std::mem::take(&mut self.opaque);
        opaque.sort_unstable();
        opaque.dedup();
        let mut kept = Vec::with_capacity(opaque.len());
        for path in opaque {
            // Where the directory is gone, so is its mark.
            let Ok(dir) = open_strictly(&self.root, &path) else {
                continue;
            };
            match unlinkat(&dir, OPAQUE_MARK, AtFlags::empty()) {
                Ok(()) => kept.push(path),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(UnpackError::entry("unmark", &path)(errno)),
            }
        }
        Ok(kept)
    }

    /// Makes the missing ones of `path`'s directories, from the top. The layer's own symlinks are followed as if the
    /// layer's directory were `/`, and what they lead to is made too: it may lie in a lower layer.
    fn make_dirs(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, UnpackError> {
        Ok(self.walk(path)?.1)
    }

    /// As [`Self::make_dirs`], and the path without symlinks.
    fn walk(&mut self, path: &[u8]) -> Result<(Vec<u8>, Rc<OwnedFd>), UnpackError> {
        let mut todo = names_reversed(path);
        let (mut at, mut dir) = (Vec::new(), Rc::clone(&self.root));
        let mut links = 0;
        while let Some(name) = todo.pop() {
            let open = |at: &[u8]| open_strictly(&self.root, at).map_err(UnpackError::entry("open", at));
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    let parent = at.iter().rposition(|b| *b == b'/').unwrap_or(0);
                    at.truncate(parent);
                    dir = Rc::new(open(&at)?);
                    continue;
                }
                _ => {}
            }
            let child = child_path(&at, &name);
            let fail = |errno: Errno| UnpackError::entry("open", &child)(errno);
            let next = match lookup(&dir, &name).map_err(fail)? {
                Found::Directory => open_child(&*dir, &name).map_err(UnpackError::entry("open", &child))?,
                Found::Nothing | Found::Whiteout => self.make_implicit(&dir, &child, &name)?,
                Found::Symlink => {
                    links += 1;
                    let target = readlinkat(&*dir, name.as_slice(), Vec::new()).map_err(fail)?;
                    let target = target.into_bytes();
                    if links > MAX_LINKS || target.len() + path.len() > MAX_TARGET {
                        return Err(fail(Errno::LOOP));
                    }
                    if target.first() == Some(&b'/') {
                        (at, dir) = (Vec::new(), Rc::clone(&self.root));
                    }
                    todo.extend(names_reversed(&target));
                    continue;
                }
                Found::Other => {
                    return Err(UnpackError::UnsafePath {
                        path: crate::error::shown(&child),
                        why: "an earlier entry made one of its directories a file",
                    });
                }
            };
            (at, dir) = (child, Rc::new(next));
        }
        Ok((at, dir))
    }

    fn make_implicit(&mut self, dir: &OwnedFd, path: &[u8], name: &[u8]) -> Result<OwnedFd, UnpackError> {
        // Made anew where the layer hid the lower one, it has nothing to take from there.
        let anew = lookup(dir, name) == Ok(Found::Whiteout);
        let made = self.make_dir(dir, &EntryPath::parse(path)?)?;
        let mode = Mode::from_raw_mode(IMPLICIT_MODE);
        chmodat(dir, name, mode, AtFlags::empty()).map_err(UnpackError::entry("set the mode of", path))?;
        self.made += 1;
        self.implicit_bytes += path.len();
        if !anew && self.implicit.len() < MAX_IMPLICIT && self.implicit_bytes <= MAX_IMPLICIT_BYTES {
            self.implicit.insert(path.to_vec());
        }
        Ok(made)
    }
}

/// Components in the order a stack gives them back.
pub(crate) fn names_reversed(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/').rev().map(<[u8]>::to_vec).collect()
}

/// The path of a name in a directory, without a leading slash.
pub(crate) fn child_path(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() {
        name.to_vec()
    } else {
        [dir, name].join(&b'/')
    }
}

/// What has a name now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Directory,
    Symlink,
    /// A character device: a layer holds no other than the 0/0 ones of whiteouts.
    Whiteout,
    Other,
}

/// Looks at a name without following it.
pub(crate) fn lookup(dir: &OwnedFd, name: &[u8]) -> Result<Found, Errno> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Found::of(&stat)),
        Err(Errno::NOENT) => Ok(Found::Nothing),
        Err(errno) => Err(errno),
    }
}

impl Found {
    /// The kind of a file's status.
    pub(crate) fn of(stat: &Stat) -> Self {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::CharacterDevice => Self::Whiteout,
            _ => Self::Other,
        }
    }
}

const OPEN_DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens a directory of a layer: strictly beneath and without symlinks; with the layer's own symlinks only when there
/// are some.
fn open_dir(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    match open_strictly(root, path) {
        Err(Errno::LOOP) => {
            let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
            openat2(root, path, OPEN_DIR, Mode::empty(), inside)
        }
        result => result,
    }
}

fn open_strictly(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let strict = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    openat2(root, path, OPEN_DIR, Mode::empty(), strict)
}

/// Makes these directories of a complete layer hide those of lower layers. Needs `CAP_SYS_ADMIN` on the host, which
/// who unpacked the layer has not.
pub(crate) fn set_opaque(root: &OwnedFd, paths: &[Vec<u8>]) -> Result<(), UnpackError> {
    for path in paths {
        let fail = || UnpackError::entry::<Errno>("mark opaque", path);
        let dir = open_strictly(root, path).map_err(fail())?;
        fsetxattr(&dir, OPAQUE, b"y", XattrFlags::empty()).map_err(fail())?;
    }
    Ok(())
}

/// Has whiteouts in these directories of a complete layer left out of listings where no other layer has the directory:
/// the kernel then looks for them only in one that has this attribute, as if it were copied up.
pub(crate) fn set_whited(root: &OwnedFd, paths: &[Vec<u8>]) -> Result<(), UnpackError> {
    for path in paths {
        let fail = || UnpackError::entry::<Errno>("mark whiteouts in", path);
        let dir = open_strictly(root, path).map_err(fail())?;
        fsetxattr(&dir, ORIGIN, b"", XattrFlags::empty()).map_err(fail())?;
    }
    Ok(())
}

/// True where a directory hides those of the lower layers.
pub(crate) fn is_opaque(dir: &OwnedFd) -> bool {
    let mut value = [0u8; 1];
    rustix::fs::fgetxattr(dir, OPAQUE, &mut value[..]).is_ok_and(|len| len == 1 && value == *b"y")
}
