//! Building the container's view of files, and leaving the host's behind.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount,
    unmount,
};
use rustix::process::{fchdir, pivot_root};

use super::inside;
use super::trees::Trees;
use super::{During, Failure, dev, groups, network, paths};
use crate::cgroup::Hierarchy;
use crate::oci::{Mount, Spec};

/// Attaches the image's root to the container's copy of the host's mounts.
///
/// The place is the working directory, the instance's own on the host: a directory to put the root on, nothing more.
/// It is closed to the container's ids, so this comes before the caller becomes one of them.
pub(super) fn attach_root(trees: &Trees) -> Result<(), Failure> {
    let propagation = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", propagation).during("make the mounts private")?;
    let on = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&trees.rootfs, "", CWD, ".", on).during("attach the root filesystem")
}

/// Mounts everything below the attached root and makes it the root.
///
/// New instances of proc and sysfs are allowed only while whole ones are in sight (mount_too_revealing in the
/// kernel's fs/namespace.c), so the host's root is left last.
pub(super) fn build(spec: &Spec, trees: Trees, hierarchies: &[Hierarchy]) -> Result<(), Failure> {
    let root = trees.rootfs.as_fd();
    let mut binds = trees.binds.into_iter();
    for mount in &spec.mounts {
        match mount.kind.as_str() {
            "bind" => {
                let bind = binds
                    .next()
                    .ok_or_else(|| Failure::refused("a bind mount was not opened"))?;
                let target = inside::target(root, &bind.destination, bind.kind)?;
                attach(&bind.tree, &target).during(format!("mount {}", bind.destination))?;
            }
            "cgroup" => groups::show(root, mount, hierarchies)?,
            _ => {
                let target = inside::system_directory(root, &mount.destination)?;
                attach(&filesystem(mount)?, &target).during(format!("mount {}", mount.destination))?;
            }
        }
        if mount.destination == "/dev" {
            dev::populate(root, &trees.devices)?;
        }
    }
    network::configure(root, spec)?;
    paths::restrict(root, spec)?;
    enter(root)
}

/// Makes `root` the root and detaches the host's.
fn enter(root: BorrowedFd<'_>) -> Result<(), Failure> {
    fchdir(root).during("enter the root filesystem")?;
    // Both on one place: the old root ends up on top of the new one and is detached there (pivot_root(2), NOTES).
    pivot_root(".", ".").during("change the root")?;
    unmount(".", UnmountFlags::DETACH).during("detach the host's root")?;
    rustix::process::chdir("/").during("enter the new root")
}

/// Puts a detached mount on a target.
pub(super) fn attach(mount: &OwnedFd, target: &OwnedFd) -> Result<(), rustix::io::Errno> {
    let both = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", both)
}

/// A new file system, not attached yet.
pub(super) fn filesystem(mount: &Mount) -> Result<OwnedFd, Failure> {
    let what = || format!("make the {} for {}", mount.kind, mount.destination);
    let context = fsopen(mount.kind.as_str(), FsOpenFlags::FSOPEN_CLOEXEC).during(what())?;
    fsconfig_set_string(context.as_fd(), "source", mount.source.as_str()).during(what())?;
    let mut attributes = MountAttrFlags::empty();
    for option in &mount.options {
        match (attribute(option), option.split_once('=')) {
            (Some(flags), _) => attributes |= flags,
            (None, Some((key, value))) => {
                fsconfig_set_string(context.as_fd(), key, value)
                    .during(format!("set {option}: {}", what()))?;
            }
            // Every instance of devpts is a new one since Linux 4.7.
            (None, None) if option == "newinstance" => {}
            (None, None) => {
                fsconfig_set_flag(context.as_fd(), option.as_str())
                    .during(format!("set {option}: {}", what()))?;
            }
        }
    }
    fsconfig_create(context.as_fd()).during(what())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).during(what())
}

/// The attribute a mount option of this name sets, if it is one.
pub(super) fn attribute(option: &str) -> Option<MountAttrFlags> {
    Some(match option {
        "ro" => MountAttrFlags::MOUNT_ATTR_RDONLY,
        "nosuid" => MountAttrFlags::MOUNT_ATTR_NOSUID,
        "nodev" => MountAttrFlags::MOUNT_ATTR_NODEV,
        "noexec" => MountAttrFlags::MOUNT_ATTR_NOEXEC,
        "strictatime" => MountAttrFlags::MOUNT_ATTR_STRICTATIME,
        "noatime" => MountAttrFlags::MOUNT_ATTR_NOATIME,
        "bind" | "rbind" | "rw" => MountAttrFlags::empty(),
        _ => return None,
    })
}

/// A read-only, empty directory.
pub(super) fn emptiness(destination: &str) -> Result<OwnedFd, Failure> {
    filesystem(&Mount {
        destination: destination.to_owned(),
        kind: "tmpfs".to_owned(),
        source: "tmpfs".to_owned(),
        options: ["ro", "nosuid", "nodev", "noexec", "mode=555", "size=4k"]
            .map(str::to_owned)
            .to_vec(),
    })
}
