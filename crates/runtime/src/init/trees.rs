//! What a container needs of the host's file system, opened by the shim while it still may walk there.
//!
//! Each is a detached clone of a mount: pid 1 attaches it without resolving a host path, so the directories above
//! need not be open to the container's ids.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, fstat};
use rustix::mount::{MountAttrFlags, MountPropagationFlags, OpenTreeFlags, open_tree};
use sys::mount::{MountChange, change_mount};

use super::inside::Kind;
use super::{During, Failure};
use crate::oci;

/// Device nodes every container has; all are world-writable on the host and belong to its root.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Detached mounts.
pub(crate) struct Trees {
    pub(super) rootfs: OwnedFd,
    /// In the order of the bundle's bind mounts.
    pub(super) binds: Vec<Bind>,
    /// Name below /dev, and the node.
    pub(super) devices: Vec<(&'static str, OwnedFd)>,
}

/// One file or directory of the host.
pub(crate) struct Bind {
    pub destination: String,
    pub tree: OwnedFd,
    pub(super) kind: Kind,
}

impl Trees {
    /// Opens everything `spec` names.
    pub fn open(spec: &oci::Spec) -> Result<Self, Failure> {
        let path = spec
            .root
            .path
            .to_str()
            .ok_or_else(|| Failure::refused("root filesystem path is not UTF-8"))?;
        // Nodes an image brings along must not work, whatever made them.
        let mut restrictions = MountAttrFlags::MOUNT_ATTR_NODEV;
        if spec.root.readonly {
            restrictions |= MountAttrFlags::MOUNT_ATTR_RDONLY;
        }
        let rootfs = detached(path, restrictions)?;
        let binds = spec
            .mounts
            .iter()
            .filter(|mount| mount.kind == "bind")
            .map(bind)
            .collect::<Result<_, _>>()?;
        let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let device = |name: &'static str| Ok((name, detached(&format!("/dev/{name}"), quiet)?));
        let devices = DEVICES.into_iter().map(device).collect::<Result<_, Failure>>()?;
        Ok(Self {
            rootfs,
            binds,
            devices,
        })
    }

    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let binds = self.binds.iter().map(|bind| bind.tree.as_fd());
        let devices = self.devices.iter().map(|(_, tree)| tree.as_fd());
        std::iter::once(self.rootfs.as_fd()).chain(binds).chain(devices)
    }
}

fn bind(mount: &oci::Mount) -> Result<Bind, Failure> {
    let mut restrictions = MountAttrFlags::empty();
    for option in &mount.options {
        restrictions |= super::mounts::attribute(option).unwrap_or(MountAttrFlags::empty());
    }
    let tree = detached(&mount.source, restrictions)?;
    let stat = fstat(&tree).during(format!("look at {}", mount.source))?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Directory,
        _ => Kind::File,
    };
    Ok(Bind {
        destination: mount.destination.clone(),
        tree,
        kind,
    })
}

fn detached(path: &str, set: MountAttrFlags) -> Result<OwnedFd, Failure> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, path, flags).during(format!("open {path} on the cell"))?;
    let change = MountChange {
        set,
        propagation: Some(MountPropagationFlags::PRIVATE),
        user_namespace: None,
    };
    change_mount(&tree, &change).during(format!("restrict the mount of {path}"))?;
    Ok(tree)
}
