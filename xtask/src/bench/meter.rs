//! CPU time by control group: exact to the nanosecond, with every process that came and went in between.
//!
//! ```text
//! slipway-bench-PID/driver   this program, and the clients and scripts it runs (its own share is subtracted)
//! slipway-bench-PID/ours     the platform's process
//! slipway-bench-PID/peer     the peers' processes
//! slipway-bench-PID/apps     containers the peers make
//! slipway-bench-PID/aside    what serves all sides
//! slipway-TAG                what the platform makes: shims and containers
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::pairs::{OTHERS, Side};
use super::process;

/// Machine-wide accounting has a step of 10 ms: below this its shares mean nothing.
const LONG_ENOUGH: Duration = Duration::from_millis(300);
/// sysconf(_SC_CLK_TCK), which Linux fixes for all programs (time(7)).
const TICK: Duration = Duration::from_millis(10);

/// A group of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// This program and what it runs.
    Driver,
    /// The platform.
    Ours,
    /// The peers.
    Peer,
    /// What serves all sides, and is charged to none.
    Aside,
}

impl Who {
    /// Where no platform makes anything.
    pub const NO_TAG: &str = "-no-tag-";
}

impl Place {
    fn dir(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Ours => "ours",
            Self::Peer => "peer",
            Self::Aside => "aside",
        }
    }
}

/// Whose time counts.
#[derive(Clone, Debug)]
pub enum Who {
    /// The platform, what it makes under this tag, and the clients.
    Ours(String),
    /// The peers, what they make, and the clients, beside a platform of this tag.
    Peer(String),
}

/// Control groups of this run; removed with this value.
pub struct Meter {
    /// Where the accounting hierarchy is mounted.
    mount: PathBuf,
    name: String,
    /// The group this program came from.
    home: PathBuf,
}

/// A moment.
#[derive(Debug)]
pub struct Reading {
    at: Instant,
    parts: Parts,
    all: Duration,
    machine: Duration,
}

/// CPU time by who used it.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// Clients and scripts.
    pub driver: Duration,
    /// The platform's process, or the peers' servers.
    pub servers: Duration,
    /// Containers, with their shims.
    pub containers: Duration,
}

impl Parts {
    fn total(self) -> Duration {
        self.driver + self.servers + self.containers
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            driver: self.driver.saturating_sub(earlier.driver),
            servers: self.servers.saturating_sub(earlier.servers),
            containers: self.containers.saturating_sub(earlier.containers),
        }
    }
}

/// What passed since a reading.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// Time.
    pub wall: Duration,
    /// CPU time of those that count.
    pub cpu: Duration,
    /// The same by who used it.
    pub parts: Parts,
    others_percent: Option<f64>,
}

impl Spent {
    /// `wall_ms`, `cpu_ms` and what others used.
    pub fn side(&self) -> Side {
        self.judge(
            Side::new()
                .with("wall_ms", millis(self.wall))
                .with("cpu_ms", millis(self.cpu)),
        )
    }

    /// Adds what others used.
    pub fn judge(&self, side: Side) -> Side {
        match self.others_percent {
            Some(percent) => side.with(OTHERS, percent),
            None => side,
        }
    }
}

/// A duration in milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

impl Meter {
    /// Makes the groups and moves this program into its own.
    ///
    /// # Errors
    /// When no hierarchy accounts CPU time or it cannot be written: this needs root.
    pub fn new() -> anyhow::Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let mount =
            accounting(&mounts).context("no cpuacct or version 2 control group hierarchy is mounted")?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let meter = Self {
            home: mount.join(own_group(&own, &mount).trim_start_matches('/')),
            mount,
            name: format!("slipway-bench-{}", std::process::id()),
        };
        for dir in ["driver", "ours", "peer", "aside", "apps"] {
            let dir = meter.root().join(dir);
            fs::create_dir_all(&dir)
                .with_context(|| format!("cannot make {}; run as root", dir.display()))?;
        }
        meter.put(std::process::id(), Place::Driver)?;
        Ok(meter)
    }

    fn root(&self) -> PathBuf {
        self.mount.join(&self.name)
    }

    /// The file that lists the processes of `place`.
    pub fn procs(&self, place: Place) -> PathBuf {
        self.root().join(place.dir()).join("cgroup.procs")
    }

    /// Moves a process with its threads.
    pub fn put(&self, pid: u32, place: Place) -> anyhow::Result<()> {
        fs::write(self.procs(place), pid.to_string())
            .with_context(|| format!("cannot account for process {pid}"))
    }

    /// A command that runs `program` in `place` from its first instruction on.
    pub fn command(&self, place: Place, program: &Path) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", r#"echo $$ > "$0" && exec "$@""#])
            .arg(self.procs(place))
            .arg(program);
        command
    }

    /// `cgroupsPath` of a peer's container.
    pub fn apps_path(&self, id: &str) -> String {
        format!("/{}/apps/{id}", self.name)
    }

    /// CPU time `place` has used.
    pub fn used(&self, place: Place) -> Duration {
        usage(&self.root().join(place.dir()))
    }

    fn tagged(&self, tag: &str) -> Duration {
        let entries = fs::read_dir(&self.mount).into_iter().flatten().flatten();
        let ours = entries.filter(|entry| entry.file_name().to_string_lossy().contains(tag));
        ours.map(|entry| usage(&entry.path())).sum()
    }

    /// This moment for `who`.
    pub fn now(&self, who: &Who) -> Reading {
        let own = process::own_cpu();
        let driver = self.used(Place::Driver).saturating_sub(own);
        let (Who::Ours(tag) | Who::Peer(tag)) = who;
        let made = self.tagged(tag);
        let (servers, containers) = match who {
            Who::Ours(_) => (self.used(Place::Ours), made),
            Who::Peer(_) => (self.used(Place::Peer), usage(&self.root().join("apps"))),
        };
        let parts = Parts {
            driver,
            servers,
            containers,
        };
        let all = usage(&self.root()) + made;
        Reading {
            at: Instant::now(),
            parts,
            all,
            machine: machine_busy(),
        }
    }

    /// What passed for `who`.
    pub fn since(&self, who: &Who, reading: &Reading) -> Spent {
        let now = self.now(who);
        let wall = now.at - reading.at;
        let cores = u32::try_from(process::cpus()).unwrap_or(1);
        let others = (now.machine - reading.machine).saturating_sub(now.all.saturating_sub(reading.all));
        let share = others.as_secs_f64() / (wall * cores).as_secs_f64() * 100.0;
        let parts = now.parts.since(reading.parts);
        Spent {
            wall,
            cpu: parts.total(),
            parts,
            others_percent: (wall >= LONG_ENOUGH).then_some(share),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let _ = fs::write(self.home.join("cgroup.procs"), std::process::id().to_string());
        let base = Path::new("/sys/fs/cgroup");
        let hierarchies = fs::read_dir(base)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        for hierarchy in hierarchies.chain([base.to_owned()]) {
            remove(&hierarchy.join(&self.name));
        }
    }
}

fn remove(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

/// Where CPU time is accounted: the version 1 controller, else version 2, which always accounts.
fn accounting(mounts: &str) -> Option<PathBuf> {
    let fields: Vec<Vec<&str>> = mounts.lines().map(|line| line.split(' ').collect()).collect();
    let first = fields.iter().find(|field| {
        field.get(2) == Some(&"cgroup")
            && field
                .get(3)
                .is_some_and(|options| options.split(',').any(|o| o == "cpuacct"))
    });
    let second = || fields.iter().find(|field| field.get(2) == Some(&"cgroup2"));
    first
        .or_else(second)
        .and_then(|field| field.get(1))
        .map(PathBuf::from)
}

/// This program's group in the hierarchy at `mount`, by cgroups(7) `/proc/PID/cgroup`.
fn own_group(own: &str, mount: &Path) -> String {
    let version_one = mount.join("cpuacct.usage").exists();
    let line = own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let wanted = if version_one {
            controllers.split(',').any(|c| c == "cpuacct")
        } else {
            controllers.is_empty()
        };
        wanted.then(|| path.to_owned())
    });
    line.unwrap_or_else(|| "/".to_owned())
}

fn usage(group: &Path) -> Duration {
    if let Ok(text) = fs::read_to_string(group.join("cpuacct.usage")) {
        return Duration::from_nanos(text.trim().parse().unwrap_or(0));
    }
    let text = fs::read_to_string(group.join("cpu.stat")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    Duration::from_micros(line.and_then(|number| number.parse().ok()).unwrap_or(0))
}

/// Time all CPUs together were not idle, stolen time included: proc_stat(5).
fn machine_busy() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let fields: Vec<u32> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal
    let busy = fields
        .iter()
        .enumerate()
        .filter(|(i, _)| *i < 8 && *i != 3 && *i != 4)
        .map(|(_, ticks)| *ticks);
    TICK * busy.sum::<u32>()
}

/// Fails unless there is a CPU for the load and one for what is measured.
pub fn demand_two_cpus() -> anyhow::Result<()> {
    ensure!(
        process::cpus() >= 2,
        "this row pins its two sides to two CPUs, and there is one"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accounting_hierarchy_is_found() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(accounting(hybrid), Some("/sys/fs/cgroup/cpu,cpuacct".into()));
        assert_eq!(
            accounting("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"),
            Some("/sys/fs/cgroup".into())
        );
        assert_eq!(accounting("proc /proc proc rw 0 0\n"), None);
    }
}
