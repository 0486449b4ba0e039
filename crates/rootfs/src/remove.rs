//! Removal of whole trees that strangers filled: any depth, any names, no symlink followed, no mount crossed.
//!
//! At most [`MAX_DEPTH`] descriptors are open at a time; what lies deeper is first moved up to the top of the tree.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, openat2, renameat_with, unlinkat,
};
use rustix::io::Errno;

/// Levels below the top that are walked in place.
const MAX_DEPTH: usize = 64;
/// Bound on passes over the top: each shortens the deepest path by [`MAX_DEPTH`].
const MAX_PASSES: usize = 100_000;

/// Removes `name` in `parent`, whatever it is; nothing there is fine.
///
/// # Errors
/// `EXDEV` or `EBUSY` when something is mounted below: nothing behind the mount is touched.
pub(crate) fn remove_tree(parent: impl AsFd, name: &[u8]) -> io::Result<()> {
    let parent = parent.as_fd();
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // EPERM is what some filesystems say of a directory.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    let top = open_child(parent, name)?;
    let mut names = FreshNames::new();
    for _ in 0..MAX_PASSES {
        empty(&top, &top, 0, &mut names)?;
        match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY) => {}
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(io::Error::other("the tree is filled faster than it is emptied"))
}

/// Opens a directory by its one name: no symlink, no mount point.
pub(crate) fn open_child(parent: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    Ok(openat2(parent, name, flags, Mode::empty(), resolve)?)
}

fn empty(top: &OwnedFd, dir: &OwnedFd, depth: usize, names: &mut FreshNames) -> io::Result<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let kind = entry.file_type();
        if !matches!(kind, FileType::Directory | FileType::Unknown) {
            gone(unlinkat(dir, name, AtFlags::empty()))?;
            continue;
        }
        match unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR) => gone(unlinkat(dir, name, AtFlags::empty()))?,
            Err(Errno::NOTEMPTY) if depth < MAX_DEPTH => {
                let child = open_child(dir, name)?;
                empty(top, &child, depth + 1, names)?;
                match unlinkat(dir, name, AtFlags::REMOVEDIR) {
                    // Whoever was filling it is being killed: the next pass is for what it made meanwhile.
                    Err(Errno::NOTEMPTY) => {}
                    done => gone(done)?,
                }
            }
            Err(Errno::NOTEMPTY) => move_up(top, dir, name, names)?,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn move_up(top: &OwnedFd, dir: &OwnedFd, name: &[u8], names: &mut FreshNames) -> io::Result<()> {
    loop {
        match renameat_with(dir, name, top, names.next(), RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            done => return gone(done),
        }
    }
}

fn gone(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Names nobody could have prepared.
struct FreshNames {
    random: RandomState,
    count: u64,
}

impl FreshNames {
    fn new() -> Self {
        Self {
            random: RandomState::new(),
            count: 0,
        }
    }

    fn next(&mut self) -> String {
        self.count += 1;
        format!(".deep-{:016x}", self.random.hash_one(self.count))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn any_depth_goes_and_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("outside"), "x").unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("outside"), dir.path().join("tree/link")).unwrap();
        std::os::unix::fs::symlink("..", dir.path().join("tree/up")).unwrap();
        let mut at = open_child(fs::File::open(dir.path()).unwrap(), b"tree").unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            rustix::fs::mkdirat(&at, "e", Mode::RWXU).unwrap();
            at = open_child(&at, b"d").unwrap();
        }
        let parent = fs::File::open(dir.path()).unwrap();
        remove_tree(&parent, b"tree").unwrap();
        remove_tree(&parent, b"tree").unwrap();
        let left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, ["outside"]);
    }
}
