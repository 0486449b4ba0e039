//! Finding and making paths inside the image. Its symlinks are hostile: everything is resolved with `RESOLVE_IN_ROOT`,
//! never through links of /proc, and what is opened is used by descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, readlinkat, statat,
};
use rustix::io::Errno;

use super::{During, Failure};

/// As many symlinks as the kernel itself follows (path_resolution(7)).
const LINKS: usize = 40;

/// What a missing target is made as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
}

/// Opens `path` below `root` without following any symlink; for paths on filesystems of ours.
pub(crate) fn open_plain(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // Without O_NOFOLLOW, which would hand out a symlink in last place instead of refusing it.
    openat2(
        root,
        relative(path),
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )
}

/// Opens `path` as the image means it, following its symlinks inside `root` only.
pub(crate) fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(
        root,
        relative(path),
        flags | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )
}

/// A mount target that must be a real directory of the image's root, made when missing.
///
/// # Errors
/// When it is or goes through a symlink: a system directory would be mounted elsewhere than it is later found.
pub(super) fn system_directory(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Failure> {
    match open_plain(root, path) {
        Err(Errno::LOOP) => return Err(Failure::refused(format!("the image has a symlink at {path}"))),
        Err(Errno::NOENT) => {}
        other => return other.during(format!("open {path} of the image")),
    }
    let (parent, name) = split(path);
    let parent = match parent {
        "" => open_plain(root, ".").during("open the image's root")?,
        parent => system_directory(root, parent)?,
    };
    mkdirat(&parent, name, Mode::from_raw_mode(0o755)).during(format!("make {path}"))?;
    open_plain(root, path).during(format!("open {path}"))
}

/// A mount target as the image means it, made with its parents when missing; a dangling symlink is made good.
pub(crate) fn target(root: BorrowedFd<'_>, path: &str, kind: Kind) -> Result<OwnedFd, Failure> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let (parent_path, name) = split(&path);
        if name.is_empty() || name == ".." {
            return Err(Failure::refused(format!("{path} cannot be a mount target")));
        }
        let parent = directory(root, parent_path)?;
        match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => make(parent.as_fd(), name, kind).during(format!("make {path}"))?,
            Err(error) => return Err(error).during(format!("look at {path} of the image")),
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Symlink => {
                let link =
                    readlinkat(&parent, name, Vec::new()).during(format!("read the symlink {path}"))?;
                let link = link
                    .to_str()
                    .map_err(|_| Failure::refused(format!("the symlink {path} is not UTF-8")))?;
                path = if link.starts_with('/') {
                    link.to_owned()
                } else {
                    format!("{parent_path}/{link}")
                };
                continue;
            }
            Ok(_) => {}
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        return openat(&parent, name, flags, Mode::empty()).during(format!("open {path}"));
    }
    Err(Failure::refused(format!(
        "too many symlinks at {path} of the image"
    )))
}

/// A directory, made with its parents when missing.
pub(crate) fn directory(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Failure> {
    let mut at = open(root, ".", OFlags::PATH | OFlags::DIRECTORY).during("open the image's root")?;
    let mut so_far = String::new();
    for name in path.split('/').filter(|name| !name.is_empty() && *name != ".") {
        so_far.push('/');
        so_far.push_str(name);
        let found = open(root, &so_far, OFlags::PATH | OFlags::DIRECTORY);
        at = match found {
            Err(Errno::NOENT) => {
                match mkdirat(&at, name, Mode::from_raw_mode(0o755)) {
                    // A dangling symlink: it exists, and leads nowhere.
                    Err(Errno::EXIST) => target(root, &so_far, Kind::Directory)?,
                    made => {
                        made.during(format!("make {so_far}"))?;
                        open(root, &so_far, OFlags::PATH | OFlags::DIRECTORY)
                            .during(format!("open {so_far}"))?
                    }
                }
            }
            other => other.during(format!("open the directory {so_far} of the image"))?,
        };
    }
    Ok(at)
}

fn make(parent: BorrowedFd<'_>, name: &str, kind: Kind) -> Result<(), Errno> {
    match kind {
        Kind::Directory => mkdirat(parent, name, Mode::from_raw_mode(0o755)),
        Kind::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    }
}

/// Parent and last name.
fn split(path: &str) -> (&str, &str) {
    let path = path.trim_end_matches('/');
    match path.rsplit_once('/') {
        Some((parent, name)) => (parent, name),
        None => ("", path),
    }
}

/// `openat2` with `RESOLVE_IN_ROOT` takes absolute paths too, but an empty one means an error.
fn relative(path: &str) -> &str {
    match path.trim_start_matches('/') {
        "" => ".",
        path => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn hostile_symlinks_stay_inside_and_dangling_ones_are_made_good() {
        let outer = tempfile::tempdir().expect("temp dir");
        let image = outer.path().join("image");
        fs::create_dir_all(image.join("etc")).expect("made");
        symlink("../../../../run/resolved.conf", image.join("etc/resolv.conf")).expect("made");
        symlink("/", image.join("escape")).expect("made");
        symlink("/nowhere/deep", image.join("dangling")).expect("made");
        symlink("loop", image.join("loop")).expect("made");
        let root = fs::File::open(&image).expect("open");
        target(root.as_fd(), "/etc/resolv.conf", Kind::File).expect("made inside");
        assert!(image.join("run/resolved.conf").is_file());
        target(root.as_fd(), "/escape/../new/file", Kind::File).expect("made inside");
        assert!(image.join("new/file").is_file());
        target(root.as_fd(), "/dangling/x", Kind::Directory).expect("made inside");
        assert!(image.join("nowhere/deep/x").is_dir());
        assert!(target(root.as_fd(), "/loop", Kind::File).is_err());
        assert!(target(root.as_fd(), "/etc/..", Kind::File).is_err());
        assert!(system_directory(root.as_fd(), "/escape").is_err());
        system_directory(root.as_fd(), "/sys/fs/x").expect("made");
        let names: Vec<_> = fs::read_dir(outer.path()).expect("listable").collect();
        assert_eq!(names.len(), 1, "nothing was made outside");
    }
}
