//! /dev: the usual nodes and links, nothing else.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, symlinkat};

use super::inside::{self, Kind};
use super::mounts::attach;
use super::{During, Failure};

/// Name and target of each symlink.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Fills the /dev just mounted. Nodes cannot be made in a user namespace, so the host's are shown.
pub(super) fn populate(root: BorrowedFd<'_>, devices: &[(&'static str, OwnedFd)]) -> Result<(), Failure> {
    let dev = inside::open(root, "/dev", OFlags::PATH | OFlags::DIRECTORY).during("open /dev")?;
    for (name, node) in devices {
        let target = inside::target(dev.as_fd(), name, Kind::File)?;
        attach(node, &target).during(format!("mount /dev/{name}"))?;
    }
    for (name, target) in LINKS {
        symlinkat(target, &dev, name).during(format!("link /dev/{name}"))?;
    }
    Ok(())
}
