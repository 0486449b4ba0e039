//! Layers read as one tree, without mounting them: what a path is, and where a symlink leads.
//!
//! As an overlay merges them: the topmost layer that has the name counts, a whiteout or an opaque directory ends the
//! search. Every step opens one name in one directory; no symlink is followed by the kernel.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::readlinkat;
use rustix::io::Errno;

use crate::inherit::Lower;
use crate::path::prefixes;
use crate::remove::open_child;
use crate::tree::{Found, MAX_LINKS, MAX_TARGET, child_path, is_opaque, lookup, names_reversed};

/// Most directories opened; honest images need a few hundred.
const MAX_OPENED: u64 = 200_000;

/// Layers, bottom first.
pub(crate) struct Stack<'a> {
    layers: Vec<&'a Lower>,
    opened: Cell<u64>,
}

/// What a path is, itself not followed.
pub(crate) enum Seen {
    Nothing,
    Directory,
    /// The directory it lies in, in its layer.
    Symlink {
        dir: OwnedFd,
        name: Vec<u8>,
    },
    File,
}

/// What one layer says of a path.
enum Word {
    /// The layers below decide.
    Nothing,
    /// They do not, and there is nothing.
    Hidden,
    Found(OwnedFd, Found),
}

impl<'a> Stack<'a> {
    pub(crate) fn of(layers: &'a [Lower]) -> Self {
        Self {
            layers: layers.iter().collect(),
            opened: Cell::new(0),
        }
    }

    /// With one more on top.
    pub(crate) fn with<'b>(&self, top: &'b Lower) -> Stack<'b>
    where
        'a: 'b,
    {
        Stack {
            layers: self.layers.iter().copied().chain([top]).collect(),
            opened: self.opened.clone(),
        }
    }

    /// True once more has been looked at than honest images make necessary.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.opened.get() > MAX_OPENED
    }

    /// What a clean path is. A symlink above it is nothing to go through.
    pub(crate) fn look(&self, path: &[u8]) -> io::Result<Seen> {
        let name = prefixes(path)
            .last()
            .map(|(_, name)| name.to_vec())
            .unwrap_or_default();
        Ok(match self.find(path)? {
            None => Seen::Nothing,
            Some((_, Found::Directory)) => Seen::Directory,
            Some((dir, Found::Symlink)) => Seen::Symlink { dir, name },
            Some(_) => Seen::File,
        })
    }

    /// The directory a file or symlink lies in, in the layer that has it.
    pub(crate) fn file(&self, path: &[u8]) -> io::Result<Option<(OwnedFd, Found)>> {
        Ok(self.find(path)?.filter(|(_, found)| *found != Found::Directory))
    }

    /// Opens a directory of the topmost layer.
    pub(crate) fn open(&self, path: &[u8]) -> io::Result<Option<OwnedFd>> {
        let Some(top) = self.layers.last() else {
            return Ok(None);
        };
        let mut at: OwnedFd = File::open(&top.dir)?.into();
        for (_, name) in prefixes(path) {
            at = open_child(&at, name)?;
        }
        Ok(Some(at))
    }

    /// True when the topmost layer's directories above `path` hide what is below.
    pub(crate) fn hides(&self, path: &[u8]) -> io::Result<bool> {
        let Some(top) = self.layers.last() else {
            return Ok(false);
        };
        let mut at: OwnedFd = File::open(&top.dir)?.into();
        for (prefix, name) in prefixes(path) {
            if is_opaque(&at) {
                return Ok(true);
            }
            if prefix.len() < path.len() {
                at = open_child(&at, name)?;
            }
        }
        Ok(false)
    }

    /// Where a path leads with all its symlinks followed, the stack's root being `/`; what does not exist is as it is
    /// written. `None` when it goes through a file, in circles or too far.
    pub(crate) fn resolve(&self, path: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut todo = names_reversed(path);
        let mut at: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    at.pop();
                    continue;
                }
                _ => at.push(name),
            }
            match self.look(&at.join(&b'/'))? {
                Seen::Nothing | Seen::Directory => {}
                Seen::File => return Ok(None),
                Seen::Symlink { dir, name } => {
                    at.pop();
                    links += 1;
                    let target = readlinkat(&dir, name.as_slice(), Vec::new())?.into_bytes();
                    if links > MAX_LINKS || target.len() + path.len() > MAX_TARGET {
                        return Ok(None);
                    }
                    if target.first() == Some(&b'/') {
                        at.clear();
                    }
                    todo.extend(names_reversed(&target));
                }
            }
        }
        let path = at.iter().fold(Vec::new(), |path, name| child_path(&path, name));
        Ok((path.len() <= MAX_TARGET).then_some(path))
    }

    fn find(&self, path: &[u8]) -> io::Result<Option<(OwnedFd, Found)>> {
        for layer in self.layers.iter().rev() {
            match self.word(layer, path)? {
                Word::Nothing => {}
                Word::Hidden => return Ok(None),
                Word::Found(dir, found) => return Ok(Some((dir, found))),
            }
        }
        Ok(None)
    }

    fn word(&self, layer: &Lower, path: &[u8]) -> io::Result<Word> {
        let mut at: OwnedFd = File::open(&layer.dir)?.into();
        let mut absent = Word::Nothing;
        for (prefix, name) in prefixes(path) {
            self.opened.set(self.opened.get() + 1);
            if is_opaque(&at) {
                absent = Word::Hidden;
            }
            if prefix.len() == path.len() {
                return Ok(match lookup(&at, name)? {
                    Found::Nothing => absent,
                    Found::Whiteout => Word::Hidden,
                    found => Word::Found(at, found),
                });
            }
            at = match open_child(&at, name) {
                Ok(child) => child,
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::NOENT) => return Ok(absent),
                    Some(Errno::NOTDIR | Errno::LOOP) => return Ok(Word::Hidden),
                    _ => return Err(error),
                },
            };
        }
        Ok(Word::Found(at, Found::Directory))
    }
}
