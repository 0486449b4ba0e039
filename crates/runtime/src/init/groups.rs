//! /sys/fs/cgroup: the container's own limits and use, read-only, so that runtimes inside can size themselves.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, mkdirat, symlinkat};
use rustix::mount::MountAttrFlags;
use sys::mount::{MountChange, change_mount};

use super::inside;
use super::mounts::{attach, emptiness, filesystem};
use super::{During, Failure};
use crate::cgroup::{Hierarchy, Kind};
use crate::oci::Mount;

/// Options of a version 1 hierarchy that are no controllers.
const NO_CONTROLLERS: [&str; 5] = [
    "xattr",
    "noprefix",
    "clone_children",
    "cpuset_v2_mode",
    "favordynmods",
];

/// Mounts the view. Where the kernel refuses a part (hierarchies mounted with unusual options), that part is missing:
/// a container without figures is better than none.
pub(super) fn show(
    root: BorrowedFd<'_>,
    mount: &Mount,
    hierarchies: &[Hierarchy],
    own: Option<&[(String, OwnedFd)]>,
) -> Result<(), Failure> {
    let target = inside::system_directory(root, &mount.destination)?;
    if let Some(own) = own {
        return show_directories(&target, mount, own);
    }
    let version_one: Vec<(&Hierarchy, Vec<&str>)> = hierarchies
        .iter()
        .filter_map(|hierarchy| Some((hierarchy, controllers(hierarchy)?)))
        .collect();
    if version_one.is_empty() {
        let view = filesystem(&Mount {
            kind: "cgroup2".to_owned(),
            source: "cgroup".to_owned(),
            ..mount.clone()
        });
        let view = view.or_else(|_| emptiness(&mount.destination))?;
        return attach(&view, &target).during("mount the cgroup view");
    }
    let top = top(mount)?;
    attach(&top, &target).during("mount the cgroup view")?;
    for (hierarchy, controllers) in version_one {
        // See above: a part that cannot be shown is left out.
        drop(show_one(top.as_fd(), mount, hierarchy, &controllers));
    }
    protect(&top)
}

/// The directory the hierarchies are mounted in.
fn top(mount: &Mount) -> Result<OwnedFd, Failure> {
    let writable = mount.options.iter().filter(|option| *option != "ro").cloned();
    filesystem(&Mount {
        kind: "tmpfs".to_owned(),
        source: "tmpfs".to_owned(),
        options: writable
            .chain(["mode=755".to_owned(), "size=64k".to_owned()])
            .collect(),
        ..mount.clone()
    })
}

fn protect(view: &OwnedFd) -> Result<(), Failure> {
    let readonly = MountChange {
        set: MountAttrFlags::MOUNT_ATTR_RDONLY,
        propagation: None,
        user_namespace: None,
    };
    change_mount(view, &readonly).during("protect the cgroup view")
}

/// Without a namespace of its own a new mount would show the groups of everyone: the container's own directories are
/// shown instead. A hierarchy without a name is the only one, and is the view itself.
fn show_directories(target: &OwnedFd, mount: &Mount, own: &[(String, OwnedFd)]) -> Result<(), Failure> {
    let readonly = mount.options.iter().any(|option| option == "ro");
    for (_, tree) in own.iter().filter(|_| readonly) {
        protect(tree)?;
    }
    if let [(name, tree)] = own
        && name.is_empty()
    {
        return attach(tree, target).during("mount the cgroup view");
    }
    let top = top(mount)?;
    attach(&top, target).during("mount the cgroup view")?;
    for (name, tree) in own {
        mkdirat(&top, name.as_str(), Mode::from_raw_mode(0o755))
            .during("make a directory for a hierarchy")?;
        let place = inside::open_plain(top.as_fd(), name).during("open the directory of a hierarchy")?;
        attach(tree, &place).during("mount a hierarchy")?;
    }
    protect(&top)
}

fn show_one(
    top: BorrowedFd<'_>,
    mount: &Mount,
    hierarchy: &Hierarchy,
    controllers: &[&str],
) -> Result<(), Failure> {
    let name = hierarchy
        .mount
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("cgroup");
    let options = mount
        .options
        .iter()
        .cloned()
        .chain(controllers.iter().map(|&name| name.to_owned()))
        .collect();
    let view = filesystem(&Mount {
        source: "cgroup".to_owned(),
        options,
        ..mount.clone()
    })?;
    mkdirat(top, name, Mode::from_raw_mode(0o755)).during("make a directory for a hierarchy")?;
    let target: OwnedFd = inside::open_plain(top, name).during("open the directory of a hierarchy")?;
    attach(&view, &target).during("mount a hierarchy")?;
    for controller in controllers.iter().filter(|controller| **controller != name) {
        symlinkat(name, top, *controller).during("link a controller")?;
    }
    Ok(())
}

/// The controllers of a version 1 hierarchy that has any.
fn controllers(hierarchy: &Hierarchy) -> Option<Vec<&str>> {
    let Kind::V1(options) = &hierarchy.kind else {
        return None;
    };
    let names = options
        .iter()
        .map(String::as_str)
        .filter(|o| !o.contains('=') && !NO_CONTROLLERS.contains(o));
    let names: Vec<&str> = names.collect();
    (!names.is_empty()).then_some(names)
}
