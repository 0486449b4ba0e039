//! Building the container's view of files, and leaving the host's behind.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount,
    unmount,
};
use rustix::process::{fchdir, pivot_root};
use sys::mount::{MountChange, change_mount};

use super::trees::Trees;
use super::{During, Failure, dev, groups, inside, network, options, paths};
use crate::cgroup::Hierarchy;
use crate::oci::{Mount, Spec};

/// Where a file system of the kernel must be found again by its name, so no symlink of the image may stand.
const SYSTEM: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Attaches the image's root to the container's copy of the host's mounts.
///
/// The place is the working directory, the instance's own on the host: a directory to put the root on, nothing more.
/// It is closed to the container's ids, so this comes before the caller becomes one of them.
pub(crate) fn attach_root(trees: &Trees) -> Result<(), Failure> {
    let propagation = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", propagation).during("make the mounts private")?;
    let on = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&trees.rootfs, "", CWD, ".", on).during("attach the root filesystem")
}

/// Mounts everything below the attached root and makes it the root; `last` does what needs both.
///
/// New instances of proc and sysfs are allowed only while whole ones are in sight (mount_too_revealing in the
/// kernel's fs/namespace.c), so the host's root is left last.
pub(crate) fn build<T>(
    spec: &Spec,
    trees: &Trees,
    hierarchies: &[Hierarchy],
    last: impl FnOnce(BorrowedFd<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let root = trees.rootfs.as_fd();
    let mut binds = trees.binds.iter();
    for mount in &spec.mounts {
        if mount.is_bind() {
            let bind = binds
                .next()
                .ok_or_else(|| Failure::refused("a bind mount was not opened"))?;
            let target = inside::target(root, &bind.destination, bind.kind)?;
            attach(&bind.tree, &target).during(format!("mount {}", bind.destination))?;
        } else if mount.kind == "cgroup" || mount.kind == "cgroup2" {
            groups::show(root, mount, hierarchies, trees.groups.as_deref())?;
        } else {
            let target = directory(root, &mount.destination)?;
            attach(&filesystem(mount)?, &target).during(format!("mount {}", mount.destination))?;
        }
        if mount.destination == "/dev" {
            dev::populate(root, &trees.devices)?;
        }
    }
    for device in &trees.extra {
        let target = inside::target(root, &device.destination, device.kind)?;
        attach(&device.tree, &target).during(format!("mount {}", device.destination))?;
    }
    network::configure(root, spec)?;
    let result = last(root)?;
    paths::restrict(root, spec, trees.null()?)?;
    if spec.root.readonly {
        protect(root)?;
    }
    enter(root)?;
    Ok(result)
}

/// Makes the root filesystem read-only, once all mount targets are made.
fn protect(root: BorrowedFd<'_>) -> Result<(), Failure> {
    let change = MountChange {
        set: MountAttrFlags::MOUNT_ATTR_RDONLY,
        propagation: None,
        user_namespace: None,
    };
    change_mount(root, &change).during("make the root filesystem read-only")
}

/// The target of a file system of the kernel.
fn directory(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Failure> {
    let below = |top: &str| {
        path.strip_prefix(top)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if SYSTEM.into_iter().any(below) {
        inside::system_directory(root, path)
    } else {
        inside::target(root, path, inside::Kind::Directory)
    }
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
pub(crate) fn filesystem(mount: &Mount) -> Result<OwnedFd, Failure> {
    let what = || format!("make the {} for {}", mount.kind, mount.destination);
    let options = options::parse(mount)?;
    let context = fsopen(mount.kind.as_str(), FsOpenFlags::FSOPEN_CLOEXEC).during(what())?;
    let source = if mount.source.is_empty() {
        &mount.kind
    } else {
        &mount.source
    };
    fsconfig_set_string(context.as_fd(), "source", source.as_str()).during(what())?;
    for (key, value) in &options.data {
        match value {
            Some(value) => fsconfig_set_string(context.as_fd(), key.as_str(), value.as_str()),
            None => fsconfig_set_flag(context.as_fd(), key.as_str()),
        }
        .during(format!("set {key}: {}", what()))?;
    }
    fsconfig_create(context.as_fd()).during(what())?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    let filesystem = fsmount(context.as_fd(), flags, options.attributes).during(what())?;
    if let Some(propagation) = options
        .propagation
        .filter(|kind| *kind != MountPropagationFlags::PRIVATE)
    {
        let change = MountChange {
            set: MountAttrFlags::empty(),
            propagation: Some(propagation),
            user_namespace: None,
        };
        change_mount(&filesystem, &change).during(what())?;
    }
    Ok(filesystem)
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
