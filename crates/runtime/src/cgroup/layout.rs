//! Which hierarchies this machine has.

use std::fs;
use std::path::{Path, PathBuf};

use super::{CgroupError, Group, failed};

/// Controllers of v1 a container is placed in; others would only cost time on each start.
const USED: [&str; 6] = ["memory", "cpu", "cpuacct", "pids", "freezer", "devices"];

/// The leaf a service manager puts the daemon in when it delegates its group to it (systemd: `DelegateSubgroup=`).
const DAEMON_LEAF: &str = "daemon";

/// The hierarchies in use.
#[derive(Clone, Debug)]
pub struct Cgroups {
    pub(super) hierarchies: Vec<Hierarchy>,
    /// Where hierarchies are mounted that the built-in runtime has no use for, but others make groups in.
    pub(super) others: Vec<PathBuf>,
    /// Where the daemon's own groups begin, `""` for the root.
    prefix: String,
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// What it is.
    pub kind: Kind,
}

/// What a hierarchy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Version 1 with these mount options: controllers, or `name=…`.
    V1(Vec<String>),
    /// Version 2.
    V2,
}

impl Hierarchy {
    /// Whether this is the version 1 hierarchy of `controller`.
    pub fn has(&self, controller: &str) -> bool {
        matches!(&self.kind, Kind::V1(options) if options.iter().any(|option| option == controller))
    }
}

impl Cgroups {
    /// Reads the mounted hierarchies and the caller's place in them.
    ///
    /// # Errors
    /// When `/proc` cannot be read, or no hierarchy limits memory.
    pub fn detect() -> Result<Self, CgroupError> {
        let mounts = Path::new("/proc/self/mountinfo");
        let own = Path::new("/proc/self/cgroup");
        let text = fs::read_to_string(mounts).map_err(failed("read", mounts))?;
        let own = fs::read_to_string(own).map_err(failed("read", own))?;
        let found = Self::from_text(&text, &own);
        if found.hierarchies.is_empty() {
            let missing = std::io::Error::other("no control group hierarchy is mounted; mount cgroup2 there");
            return Err(failed("use", Path::new("/sys/fs/cgroup"))(missing));
        }
        Ok(found)
    }

    fn from_text(mountinfo: &str, own: &str) -> Self {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for hierarchy in mountinfo.lines().filter_map(parse) {
            if !hierarchies.iter().any(|known| known.kind == hierarchy.kind) {
                hierarchies.push(hierarchy);
            }
        }
        let version_one = hierarchies.iter().any(|hierarchy| hierarchy.has("memory"));
        let prefix = if version_one {
            String::new()
        } else {
            delegated(own)
        };
        let others = mountinfo.lines().filter_map(unused).collect();
        Self {
            hierarchies,
            others,
            prefix,
        }
    }

    /// The full path of a group of ours: below the subtree the service manager gave to the daemon.
    pub fn path(&self, below: &str) -> String {
        format!("{}/{}", self.prefix, below.trim_start_matches('/'))
    }

    /// The group at `path` (as [`Cgroups::path`] returned it, perhaps to an earlier daemon).
    pub fn group(&self, path: &str) -> Group<'_> {
        Group {
            cgroups: self,
            path: path.trim_start_matches('/').to_owned(),
        }
    }

    /// Whether version 2 is mounted beside version 1, which has the controllers.
    pub fn are_mixed(&self) -> bool {
        let second = self.hierarchies.iter().any(|one| one.kind == Kind::V2);
        second && self.hierarchies.iter().any(|one| one.has("memory"))
    }

    /// Those another runtime is shown: where they are mixed, the first version only.
    pub fn for_others(mut self) -> Self {
        if self.are_mixed() {
            self.hierarchies.retain(|one| one.kind != Kind::V2);
        }
        self
    }

    /// The hierarchies, in mount order.
    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }
}

/// The place of a version 1 hierarchy that is not used.
fn unused(line: &str) -> Option<PathBuf> {
    let (before, after) = line.split_once(" - ")?;
    let version_one = after.split(' ').next() == Some("cgroup");
    let place = before
        .split(' ')
        .nth(4)
        .filter(|_| version_one && parse(line).is_none());
    place.map(PathBuf::from)
}

/// One line of proc_pid_mountinfo(5).
fn parse(line: &str) -> Option<Hierarchy> {
    let (before, after) = line.split_once(" - ")?;
    let mount = PathBuf::from(before.split(' ').nth(4)?);
    let mut after = after.split(' ');
    match after.next()? {
        "cgroup2" => Some(Hierarchy {
            mount,
            kind: Kind::V2,
        }),
        "cgroup" => {
            let used = |option: &&str| USED.contains(option) || *option == "name=systemd";
            let options = after.nth(1)?.split(',');
            // All controllers of the hierarchy are kept: mounting it again needs the same set.
            let options: Vec<String> = options
                .filter(|o| *o != "rw" && *o != "ro")
                .map(str::to_owned)
                .collect();
            options
                .iter()
                .any(|option| used(&option.as_str()))
                .then_some(Hierarchy {
                    mount,
                    kind: Kind::V1(options),
                })
        }
        _ => None,
    }
}

/// The caller's version 2 group, without the leaf the daemon itself may sit in.
fn delegated(own: &str) -> String {
    let path = own
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap_or("/");
    let path = path.strip_suffix(DAEMON_LEAF).unwrap_or(path);
    path.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found() {
        let hybrid = "\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
33 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
42 31 0:38 / /mnt/again rw - cgroup2 cgroup2 rw
27 1 254:0 / / rw - ext4 /dev/vda rw";
        let found = Cgroups::from_text(hybrid, "4:memory:/x\n0::/system.slice/slipway.service");
        let mounts: Vec<_> = found
            .hierarchies
            .iter()
            .map(|h| h.mount.to_str().expect("UTF-8"))
            .collect();
        assert_eq!(
            mounts,
            [
                "/sys/fs/cgroup/cpu,cpuacct",
                "/sys/fs/cgroup/memory",
                "/sys/fs/cgroup/unified"
            ]
        );
        assert_eq!(found.others, [Path::new("/sys/fs/cgroup/cpuset")]);
        assert!(found.hierarchies[0].has("cpuacct"));
        assert_eq!(found.path("/slipway-x/c1"), "/slipway-x/c1");
    }

    #[test]
    fn version_two_stays_in_the_delegated_subtree() {
        let unified = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate";
        for (own, path) in [
            (
                "0::/system.slice/slipway.service/daemon\n",
                "/system.slice/slipway.service/s/c",
            ),
            (
                "0::/system.slice/slipway.service\n",
                "/system.slice/slipway.service/s/c",
            ),
            ("0::/\n", "/s/c"),
        ] {
            assert_eq!(Cgroups::from_text(unified, own).path("s/c"), path, "{own}");
        }
    }
}
