//! What a container needs of the host's file system, opened by its maker while that still may walk there.
//!
//! Each is a detached clone of a mount: pid 1 attaches it without resolving a host path, so the directories above
//! need not be open to the container's ids.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, fstat};
use rustix::mount::{MountAttrFlags, MountPropagationFlags, OpenTreeFlags, open_tree};
use sys::mount::{MountChange, change_mount, change_tree};

use super::inside::Kind;
use super::{During, Failure, options};
use crate::oci::{self, DeviceNode};

/// Device nodes every container has; all are world-writable on the host and belong to its root.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Detached mounts.
pub(crate) struct Trees {
    pub(crate) rootfs: OwnedFd,
    /// In the order of the bundle's bind mounts.
    pub(crate) binds: Vec<Bind>,
    /// Name below /dev, and the node.
    pub(super) devices: Vec<(&'static str, OwnedFd)>,
    /// Device nodes the bundle names.
    pub(super) extra: Vec<Bind>,
    /// The container's own groups, for one that does not get a cgroup namespace: name of the hierarchy, directory.
    pub(crate) groups: Option<Vec<(String, OwnedFd)>>,
}

/// One file or directory of the host.
pub(crate) struct Bind {
    pub destination: String,
    pub tree: OwnedFd,
    pub(crate) kind: Kind,
}

impl Trees {
    /// Opens everything `spec` names.
    pub fn open(spec: &oci::Spec) -> Result<Self, Failure> {
        let path = spec
            .root
            .path
            .to_str()
            .ok_or_else(|| Failure::refused("root filesystem path is not UTF-8"))?;
        let rootfs = detached(path, true)?;
        // Nodes an image brings along must not work in a user namespace, whatever made them.
        let shifted = spec.linux.makes("user");
        let change = MountChange {
            set: if shifted {
                MountAttrFlags::MOUNT_ATTR_NODEV
            } else {
                MountAttrFlags::empty()
            },
            propagation: Some(MountPropagationFlags::PRIVATE),
            user_namespace: None,
        };
        change_tree(&rootfs, &change).during(format!("restrict the mount of {path}"))?;
        let binds = spec
            .mounts
            .iter()
            .filter(|mount| mount.is_bind())
            .map(bind)
            .collect::<Result<_, _>>()?;
        let device = |name: &'static str| Ok((name, device(&format!("/dev/{name}"))?));
        let devices = DEVICES.into_iter().map(device).collect::<Result<_, Failure>>()?;
        let extra = spec.linux.devices.iter().map(extra).collect::<Result<_, _>>()?;
        Ok(Self {
            rootfs,
            binds,
            devices,
            extra,
            groups: None,
        })
    }

    /// The host's /dev/null.
    pub(super) fn null(&self) -> Result<&OwnedFd, Failure> {
        let found = self.devices.iter().find(|(name, _)| *name == "null");
        found
            .map(|(_, node)| node)
            .ok_or_else(|| Failure::refused("/dev/null was not opened"))
    }

    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let binds = self.binds.iter().chain(&self.extra).map(|bind| bind.tree.as_fd());
        let devices = self.devices.iter().map(|(_, tree)| tree.as_fd());
        let groups = self.groups.iter().flatten().map(|(_, tree)| tree.as_fd());
        std::iter::once(self.rootfs.as_fd())
            .chain(binds)
            .chain(devices)
            .chain(groups)
    }
}

fn bind(mount: &oci::Mount) -> Result<Bind, Failure> {
    let options = options::parse(mount)?;
    let tree = detached(&mount.source, mount.is_recursive())?;
    let step = || format!("restrict the mount of {}", mount.source);
    let spread = MountChange {
        set: MountAttrFlags::empty(),
        propagation: Some(options.propagation.unwrap_or(MountPropagationFlags::PRIVATE)),
        user_namespace: None,
    };
    change_tree(&tree, &spread).during(step())?;
    change_mount(&tree, &setting(options.attributes)).during(step())?;
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

/// A device node of the host under the same path; other nodes cannot be shown, since a user namespace cannot make any.
fn extra(node: &DeviceNode) -> Result<Bind, Failure> {
    let refuse = |why: &str| {
        Failure::refused(format!(
            "linux.devices: {} ({} {}:{}) {why}",
            node.path, node.kind, node.major, node.minor
        ))
    };
    let Ok(stat) = rustix::fs::lstat(&node.path) else {
        return Err(refuse("is not on this machine at that path"));
    };
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => ["c", "u"].contains(&node.kind.as_str()),
        FileType::BlockDevice => node.kind == "b",
        _ => false,
    };
    let number = rustix::fs::makedev(node.major, node.minor);
    if !kind || stat.st_rdev != number {
        return Err(refuse("is something else on this machine"));
    }
    let differs = |wanted: Option<u32>, is: u32| wanted.is_some_and(|wanted| wanted != is);
    if differs(node.file_mode.map(|mode| mode & 0o7777), stat.st_mode & 0o7777)
        || differs(node.uid, stat.st_uid)
        || differs(node.gid, stat.st_gid)
    {
        return Err(refuse(
            "has another mode or owner on this machine, which cannot be changed inside",
        ));
    }
    Ok(Bind {
        destination: node.path.clone(),
        tree: device(&node.path)?,
        kind: Kind::File,
    })
}

fn device(path: &str) -> Result<OwnedFd, Failure> {
    let tree = detached(path, false)?;
    let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    change_mount(&tree, &private(quiet)).during(format!("restrict the mount of {path}"))?;
    Ok(tree)
}

fn private(set: MountAttrFlags) -> MountChange<'static> {
    MountChange {
        propagation: Some(MountPropagationFlags::PRIVATE),
        ..setting(set)
    }
}

fn setting(set: MountAttrFlags) -> MountChange<'static> {
    MountChange {
        set,
        propagation: None,
        user_namespace: None,
    }
}

/// A detached clone of what is at `path`.
pub(crate) fn detached(path: &str, recursive: bool) -> Result<OwnedFd, Failure> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(CWD, path, flags).during(format!("open {path} on the cell"))
}
