//! The place where another runtime finds what it needs.
//!
//! Such a runtime resolves the paths of its bundle as the container's root, for whom the directories of the cell are
//! closed, and some refuse a machine that has both versions of control groups. So the shim enters a mount namespace of
//! its own, shows the bundle on a file system whose directories anyone may pass, hides the second version where the
//! first is used, and lets go of all mounts that are others' business: what a neighbour unmounts must not live on here.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, OFlags, Uid, chownat};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags, mount, mount_change, move_mount, unmount,
};
use rustix::process::{Resource, getrlimit};

use crate::cgroup::{Cgroups, Kind};
use crate::init::inside;
use crate::init::trees::Trees;
use crate::init::{During, Failure};
use crate::oci::{IdMapping, Spec};
use crate::record::names;

/// Any directory every machine has will do: what is below it is out of sight in this namespace only.
pub const AREA: &str = "/mnt";

/// The image's root in the area.
pub fn rootfs() -> PathBuf {
    Path::new(AREA).join("rootfs")
}

/// Makes the area for `spec` and writes its bundle there. The caller is in a new mount namespace afterwards.
pub fn make(spec: &Spec, runtime: &Path, cgroups: &Cgroups) -> Result<(), Failure> {
    let trees = Trees::open(spec)?;
    let here = std::env::current_dir().during("find the instance's directory")?;
    make_directory(trees.rootfs.as_fd(), spec)?;
    sys::mount::unshare_mounts().during("make a mount namespace")?;
    // Not private: a file system that is unmounted on the cell must go here too.
    let propagation = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", propagation).during("receive the cell's mounts")?;
    let data = c"mode=711,size=1m";
    mount(
        "tmpfs",
        AREA,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        data,
    )
    .during("mount the area")?;
    attach(trees.rootfs.as_fd(), &rootfs(), inside::Kind::Directory)?;
    let mut spec = spec.clone();
    spec.root.path = rootfs();
    let binds = spec.mounts.iter_mut().filter(|mount| mount.is_bind());
    for (number, (mount, bind)) in binds.zip(&trees.binds).enumerate() {
        let place = Path::new(AREA).join(format!("bind{number}"));
        attach(bind.tree.as_fd(), &place, bind.kind)?;
        mount.source = place.to_string_lossy().into_owned();
    }
    fit_limits(&mut spec);
    let json = serde_json::to_vec(&spec).map_err(std::io::Error::from);
    let config = Path::new(AREA).join(names::CONFIG);
    crate::record::write_whole(&config, &json.during("write the bundle")?).during("write the bundle")?;
    release(&[here.as_path(), runtime])?;
    hide_second(cgroups)
}

/// Raising a limit needs a right a cell may lack; the built-in runtime takes what it can get, too.
fn fit_limits(spec: &mut Spec) {
    for limit in &mut spec.process.rlimits {
        let resource = crate::init::program::resource(&limit.kind).unwrap_or(Resource::Nofile);
        let ceiling = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        (limit.hard, limit.soft) = (limit.hard.min(ceiling), limit.soft.min(ceiling));
    }
}

fn attach(tree: BorrowedFd<'_>, place: &Path, kind: inside::Kind) -> Result<(), Failure> {
    let step = || format!("show {}", place.display());
    match kind {
        inside::Kind::Directory => fs::create_dir(place).during(step())?,
        inside::Kind::File => drop(fs::File::create(place).during(step())?),
    }
    fs::set_permissions(place, fs::Permissions::from_mode(0o711)).during(step())?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(tree, "", rustix::fs::CWD, place, flags).during(step())
}

/// Makes the working directory where the image lacks it, its parents root's, itself the user's, as the built-in
/// runtime does.
fn make_directory(root: BorrowedFd<'_>, spec: &Spec) -> Result<(), Failure> {
    let cwd = spec.process.cwd.trim_end_matches('/');
    let (uids, gids) = (&spec.linux.uid_mappings, &spec.linux.gid_mappings);
    let ends = cwd
        .match_indices('/')
        .map(|(at, _)| at)
        .skip(1)
        .chain([cwd.len()]);
    for prefix in ends
        .filter_map(|end| cwd.get(..end))
        .filter(|prefix| !prefix.is_empty())
    {
        match inside::open(root, prefix, OFlags::PATH) {
            Err(Errno::NOENT) => {}
            // What is in the way is told when the program is started.
            _ => continue,
        }
        let made = inside::directory(root, prefix)?;
        let user = if prefix.len() == cwd.len() {
            (spec.process.user.uid, spec.process.user.gid)
        } else {
            (0, 0)
        };
        let owner = (
            Uid::from_raw(on_host(uids, user.0)),
            Gid::from_raw(on_host(gids, user.1)),
        );
        let flags = rustix::fs::AtFlags::EMPTY_PATH;
        chownat(&made, "", Some(owner.0), Some(owner.1), flags).during(format!("hand over {prefix}"))?;
    }
    Ok(())
}

/// The host's id of an id inside.
pub fn on_host(maps: &[IdMapping], id: u32) -> u32 {
    let map = maps
        .iter()
        .find(|map| id >= map.container_id && id - map.container_id < map.size);
    map.map_or(id, |map| map.host_id + (id - map.container_id))
}

/// Detaches the mounts of others.
fn release(needed: &[&Path]) -> Result<(), Failure> {
    let table = fs::read_to_string("/proc/self/mountinfo").during("read the mounts")?;
    let mut places: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|place| PathBuf::from(unescape(place)))
        .filter(|place| !is_kept(place, needed))
        .collect();
    places.dedup();
    for place in places.iter().rev() {
        // One that went with its parent, or on the cell, is gone already.
        match unmount(place, UnmountFlags::DETACH) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => return Err(error).during(format!("let go of {}", place.display())),
        }
    }
    Ok(())
}

/// Covers the second version of control groups where the first is used. Not taken off: what a runtime then writes to
/// the directory below would stay on the cell.
fn hide_second(cgroups: &Cgroups) -> Result<(), Failure> {
    if !cgroups.are_mixed() {
        return Ok(());
    }
    for hierarchy in cgroups.hierarchies().iter().filter(|one| one.kind == Kind::V2) {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let place = hierarchy.mount.as_path();
        mount("tmpfs", place, "tmpfs", flags, c"mode=755,size=1m")
            .during(format!("hide {}", place.display()))?;
    }
    Ok(())
}

fn is_kept(place: &Path, needed: &[&Path]) -> bool {
    // The root and what is mounted on its directories are the machine's own.
    let of_the_machine = place.components().count() <= 2;
    let system = ["/proc", "/sys", "/dev", AREA]
        .iter()
        .any(|top| place.starts_with(top));
    of_the_machine || system || needed.iter().any(|path| path.starts_with(place))
}

/// Blanks and the like are octal in proc_pid_mountinfo(5).
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (code, part.get(3..)) {
            (Some(code), Some(rest)) => {
                plain.push(char::from(code));
                plain.push_str(rest);
            }
            _ => plain.push_str(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_mounts_of_others_are_let_go() {
        let needed = [
            Path::new("/var/lib/slipway/run/c1"),
            Path::new("/opt/rt/bin/crun"),
        ];
        for kept in [
            "/",
            "/tmp",
            "/usr",
            "/proc",
            "/sys/fs/cgroup/memory",
            "/dev/pts",
            "/mnt/rootfs",
            "/var/lib",
        ] {
            assert!(is_kept(Path::new(kept), &needed), "{kept}");
        }
        for other in [
            "/var/lib/slipway/instances/c2/rootfs",
            "/opt/other/x",
            "/run/user/0",
        ] {
            assert!(!is_kept(Path::new(other), &needed), "{other}");
        }
        assert_eq!(unescape("/a\\040b\\134c"), "/a b\\c");
    }

    #[test]
    fn ids_are_found_in_their_map() {
        let maps = [IdMapping {
            container_id: 0,
            host_id: 1000,
            size: 10,
        }];
        assert_eq!(
            (on_host(&maps, 3), on_host(&maps, 30), on_host(&[], 7)),
            (1003, 30, 7)
        );
    }
}
