//! Reading what a group uses.

use super::{Group, Kind, number};

/// What a container uses now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// CPU time since the start, nanoseconds.
    pub cpu_nanos: u64,
    /// Memory without file cache the kernel would drop first, bytes.
    pub memory_bytes: u64,
    /// Processes and threads, the platform's init included.
    pub pids: u64,
}

impl Group<'_> {
    /// What the group uses; a figure the machine does not account is 0.
    pub fn stats(&self) -> Stats {
        Stats {
            cpu_nanos: self.cpu_nanos().unwrap_or(0),
            memory_bytes: self.memory_bytes().unwrap_or(0),
            pids: self
                .dir_of("pids")
                .and_then(|(dir, _)| number(&dir.join("pids.current"), None))
                .unwrap_or(0),
        }
    }

    fn cpu_nanos(&self) -> Option<u64> {
        match self.dir_of("cpuacct")? {
            (dir, Kind::V1(_)) => number(&dir.join("cpuacct.usage"), None),
            (dir, Kind::V2) => number(&dir.join("cpu.stat"), Some("usage_usec")).map(|micros| micros * 1000),
        }
    }

    fn memory_bytes(&self) -> Option<u64> {
        let (dir, kind) = self.dir_of("memory")?;
        let (usage, inactive) = match kind {
            Kind::V1(_) => ("memory.usage_in_bytes", "total_inactive_file"),
            Kind::V2 => ("memory.current", "inactive_file"),
        };
        let inactive = number(&dir.join("memory.stat"), Some(inactive)).unwrap_or(0);
        number(&dir.join(usage), None).map(|usage| usage.saturating_sub(inactive))
    }

    /// How many processes the kernel killed in it for want of memory.
    pub fn oom_kills(&self) -> u64 {
        let Some((dir, kind)) = self.dir_of("memory") else {
            return 0;
        };
        let file = match kind {
            Kind::V1(_) => "memory.oom_control",
            Kind::V2 => "memory.events",
        };
        number(&dir.join(file), Some("oom_kill")).unwrap_or(0)
    }
}
