//! Facts about processes, as proc(5) tells them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;

/// How many CPUs this program may use.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// CPU time of this program's threads.
pub fn own_cpu() -> Duration {
    threads_cpu(std::process::id(), "")
}

/// CPU time of the threads of `pid` whose names begin with `prefix`; threads that ended do not count.
pub fn threads_cpu(pid: u32, prefix: &str) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let wanted = tasks.filter(|task| comm(&task.path()).starts_with(prefix));
    wanted.map(|task| schedstat(&task.path())).sum()
}

fn comm(dir: &Path) -> String {
    fs::read_to_string(dir.join("comm"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn schedstat(dir: &Path) -> Duration {
    let text = fs::read_to_string(dir.join("schedstat")).unwrap_or_default();
    let nanos = text
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// A process of a tree.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its arguments, separated by blanks.
    pub command: String,
    /// Its program; empty when it has ended.
    pub program: PathBuf,
}

impl Process {
    fn of(pid: u32) -> Self {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        Self {
            pid,
            program: fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default(),
            command: String::from_utf8_lossy(&command)
                .replace('\0', " ")
                .trim()
                .to_owned(),
        }
    }

    /// Memory, MiB, shared pages counted in equal shares: `Pss` of proc_pid_smaps(5).
    pub fn pss_mib(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or(0.0) / 1024.0
    }
}

/// The process and all its descendants, itself first.
pub fn tree(root: u32) -> Vec<Process> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in parentheses may hold anything, so fields are counted from its end.
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut found, mut next) = (Vec::new(), vec![root]);
    while let Some(pid) = next.pop() {
        found.push(Process::of(pid));
        next.extend(children.get(&pid).into_iter().flatten());
    }
    found
}

/// The descendants of this program that run `name`.
pub fn descendants_named(name: &str) -> Vec<Process> {
    let all = tree(std::process::id()).into_iter().skip(1);
    all.filter(|process| comm(Path::new(&format!("/proc/{}", process.pid))) == name)
        .collect()
}

/// Binds all threads of a process tree to CPUs given as taskset(1) takes them.
///
/// # Errors
/// When taskset is missing or refuses.
pub fn pin(root: u32, cpus: &str) -> anyhow::Result<()> {
    for process in tree(root) {
        let output = Command::new("taskset")
            .args(["-a", "-c", "-p", cpus, &process.pid.to_string()])
            .output()?;
        let gone = !Path::new(&format!("/proc/{}", process.pid)).exists();
        ensure!(
            gone || output.status.success(),
            "cannot pin {}: {}",
            process.command,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
