//! Killing everything in a group: what is left when no shim holds the container any more.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Group, Kind};
use crate::signal::Signal;

impl Group<'_> {
    /// Kills every process in the group. Best effort: the caller repeats it until the group can be removed.
    pub fn kill(&self) {
        for (dir, kind) in self.dirs() {
            if *kind == Kind::V2 && fs::write(dir.join("cgroup.kill"), "1").is_ok() {
                continue;
            }
            kill_members(&dir);
        }
    }
}

impl Group<'_> {
    /// Process numbers in the group.
    pub fn members(&self) -> Vec<i32> {
        self.dir_of("pids")
            .map(|(dir, _)| members(&dir))
            .unwrap_or_default()
    }

    /// Sends every process in the group a signal, as they are found once.
    pub fn signal_members(&self, number: i32) {
        if let Some((dir, _)) = self.dir_of("pids") {
            signal_members(&dir, number);
        }
    }
}

fn kill_members(dir: &Path) {
    signal_members(dir, Signal::KILL.number());
}

fn signal_members(dir: &Path, number: i32) {
    for pid in members(dir) {
        let Some(pidfd) = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
            continue;
        };
        // The number may have passed to a stranger before the pidfd was made; then it is not listed any more.
        if members(dir).contains(&pid) {
            drop(sys::exec::send_signal(pidfd.as_fd(), number));
        }
    }
}

fn members(dir: &Path) -> Vec<i32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}
