//! One group, in every hierarchy at once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{CgroupError, Cgroups, Kind, failed, limits, write};
use crate::oci::Resources;

/// How long removing waits for the kernel to let go of processes already dead.
const REMOVAL_WAIT: Duration = Duration::from_secs(5);
const REMOVAL_STEP: Duration = Duration::from_millis(2);
/// A parent may be removed by a neighbour's clean-up between making it and using it.
const CREATION_TRIES: usize = 20;

/// A group's path, and what can be done with it.
#[derive(Debug)]
pub struct Group<'a> {
    pub(super) cgroups: &'a Cgroups,
    pub(super) path: String,
}

impl Group<'_> {
    /// The group's directory in each hierarchy, with what the hierarchy is.
    pub(super) fn dirs(&self) -> impl Iterator<Item = (PathBuf, &Kind)> {
        self.cgroups
            .hierarchies
            .iter()
            .map(|hierarchy| (hierarchy.mount.join(&self.path), &hierarchy.kind))
    }

    /// As [`Group::dirs`], and in the hierarchies only other runtimes use.
    fn all_dirs(&self) -> impl Iterator<Item = PathBuf> {
        let others = self.cgroups.others.iter().map(|mount| mount.join(&self.path));
        self.dirs().map(|(dir, _)| dir).chain(others)
    }

    /// The group's directory in the hierarchy of `controller`: its own in version 1, else that of version 2.
    pub(super) fn dir_of(&self, controller: &str) -> Option<(PathBuf, &Kind)> {
        let all = &self.cgroups.hierarchies;
        let own = all.iter().find(|hierarchy| hierarchy.has(controller));
        let found = own.or_else(|| all.iter().find(|hierarchy| hierarchy.kind == Kind::V2))?;
        Some((found.mount.join(&self.path), &found.kind))
    }

    /// Makes the group without limits and moves process `pid` (0: the caller) into it.
    ///
    /// # Errors
    /// When a hierarchy refuses.
    pub fn create_and_enter(&self, pid: i32) -> Result<(), CgroupError> {
        for (dir, kind) in self.dirs() {
            retrying(|| {
                make(&dir, kind)?;
                enter(&dir, pid)
            })?;
        }
        Ok(())
    }

    /// Makes the group and sets its limits.
    ///
    /// # Errors
    /// When a hierarchy refuses; what was made stays for [`Group::remove`].
    pub fn create(&self, resources: &Resources) -> Result<(), CgroupError> {
        for (dir, kind) in self.dirs() {
            retrying(|| make(&dir, kind))?;
            limits::apply(&dir, kind, resources)?;
        }
        Ok(())
    }

    /// Moves a process into the group.
    ///
    /// # Errors
    /// `ESRCH` when the process is gone.
    pub fn enter(&self, pid: i32) -> Result<(), CgroupError> {
        self.dirs().try_for_each(|(dir, _)| enter(&dir, pid))
    }

    /// Kills what is in the group and removes it everywhere. Blocks up to 5 s; removing what is not there is fine.
    ///
    /// # Errors
    /// When the kernel still counts processes in it at the end of that time.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let deadline = now() + REMOVAL_WAIT;
        let dirs: Vec<PathBuf> = self.all_dirs().collect();
        for dir in &dirs {
            loop {
                match fs::remove_dir(dir) {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                    Err(error) if now() >= deadline => return Err(failed("remove", dir)(error)),
                    Err(_) => self.kill(),
                }
                sleep(REMOVAL_STEP);
            }
        }
        Ok(())
    }

    /// Removes the group where it is empty; returns whether it is gone everywhere.
    pub fn remove_if_empty(&self) -> bool {
        self.all_dirs().fold(true, |gone, dir| match fs::remove_dir(dir) {
            Ok(()) => gone,
            Err(error) => gone && error.kind() == io::ErrorKind::NotFound,
        })
    }
}

/// Monotonic time; a bound on waiting needs no settable clock.
fn now() -> Instant {
    Instant::now()
}

fn retrying(mut attempt: impl FnMut() -> Result<(), CgroupError>) -> Result<(), CgroupError> {
    for _ in 1..CREATION_TRIES {
        match attempt() {
            // ENODEV: the directory was removed between opening and writing its control file.
            Err(error) if matches!(error.source.raw_os_error(), Some(errno::ENOENT | errno::ENODEV)) => {}
            settled => return settled,
        }
    }
    attempt()
}

/// Errno values of errno(3), the same on all architectures.
mod errno {
    pub const ENOENT: i32 = 2;
    pub const ENODEV: i32 = 19;
}

fn make(dir: &Path, kind: &Kind) -> Result<(), CgroupError> {
    fs::create_dir_all(dir).map_err(failed("make", dir))?;
    if *kind == Kind::V2 {
        // Controllers reach a group through every ancestor of ours; the topmost is the one given to the daemon.
        let ours: Vec<&Path> = dir.ancestors().skip(1).take(2).collect();
        ours.into_iter().rev().try_for_each(distribute)?;
    }
    Ok(())
}

/// Hands the controllers we use down to the children of `dir`.
fn distribute(dir: &Path) -> Result<(), CgroupError> {
    let available = dir.join("cgroup.controllers");
    let available = fs::read_to_string(&available).map_err(failed("read", &available))?;
    let wanted: Vec<String> = available
        .split_whitespace()
        .filter(|name| ["memory", "cpu", "pids"].contains(name))
        .map(|name| format!("+{name}"))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let control = dir.join("cgroup.subtree_control");
    fs::write(&control, wanted.join(" ")).map_err(|error| {
        let busy = error.kind() == io::ErrorKind::ResourceBusy;
        let hint = "the daemon itself is in this group: run it with Delegate=yes and DelegateSubgroup=daemon";
        failed("write", &control)(if busy {
            io::Error::new(error.kind(), hint)
        } else {
            error
        })
    })
}

fn enter(dir: &Path, pid: i32) -> Result<(), CgroupError> {
    write(&dir.join("cgroup.procs"), &pid.to_string())
}
