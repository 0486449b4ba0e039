//! `slipway check`: what this machine must have, tried out rather than read from version numbers where that is cheap.

use std::fs;
use std::process::ExitCode;

use anyhow::bail;
use console::style;

use crate::up::demand_root;

/// One requirement and how it stands.
struct Finding {
    name: String,
    outcome: Result<String, String>,
}

fn finding(name: &str, outcome: Result<String, String>) -> Finding {
    Finding {
        name: name.to_owned(),
        outcome,
    }
}

/// Prints every requirement; success only when all are met.
pub fn run() -> ExitCode {
    let mut findings = quick();
    if demand_root().is_ok() {
        findings.extend(probes());
    }
    let width = findings.iter().map(|f| f.name.len()).max().unwrap_or_default();
    let mut failed = 0;
    for Finding { name, outcome } in &findings {
        match outcome {
            Ok(told) => println!("{}  {name:<width$}  {told}", style("pass").green()),
            Err(remedy) => {
                failed += 1;
                println!("{}  {name:<width$}  {remedy}", style("FAIL").red().bold());
            }
        }
    }
    if failed == 0 {
        println!("\nThis machine can run Slipway. Next: slipway up");
        ExitCode::SUCCESS
    } else {
        println!("\n{failed} of {} requirements are not met.", findings.len());
        ExitCode::FAILURE
    }
}

/// Refuses to start where a requirement that can be seen at once is not met.
pub fn demand() -> anyhow::Result<()> {
    demand_root()?;
    for Finding { name, outcome } in quick() {
        if let Err(remedy) = outcome {
            bail!("{name}: {remedy}");
        }
    }
    Ok(())
}

fn quick() -> Vec<Finding> {
    vec![
        finding(
            "root",
            demand_root()
                .map(|()| "running as root".to_owned())
                .map_err(|error| error.to_string()),
        ),
        finding("kernel", kernel()),
        finding("user namespaces", user_namespaces()),
        finding("overlay filesystem", filesystem("overlay")),
        finding("seccomp", seccomp()),
        finding("memory cgroup", controller("memory")),
        finding("cpu cgroup", controller("cpu")),
        finding("pids cgroup", controller("pids")),
    ]
}

fn probes() -> Vec<Finding> {
    cell::probe()
        .into_iter()
        .map(|(name, outcome)| finding(&name, outcome.map(|()| "works".to_owned())))
        .collect()
}

fn kernel() -> Result<String, String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim().to_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (6, 1) {
        Ok(release)
    } else {
        Err(format!(
            "{release} is too old; Linux 6.1 or newer is needed for id-mapped mounts and overlays on them"
        ))
    }
}

fn user_namespaces() -> Result<String, String> {
    let most = fs::read_to_string("/proc/sys/user/max_user_namespaces")
        .ok()
        .and_then(|n| n.trim().parse::<u64>().ok());
    match most {
        None => Err("the kernel has no user namespaces; use one built with CONFIG_USER_NS".to_owned()),
        Some(0) => Err("switched off; run: sysctl -w user.max_user_namespaces=10000".to_owned()),
        Some(most) => Ok(format!("up to {most}")),
    }
}

fn filesystem(name: &str) -> Result<String, String> {
    let known = || fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known()
        .lines()
        .any(|line| line.split_whitespace().last() == Some(name))
    {
        return Ok("known to the kernel".to_owned());
    }
    Err(format!("not known to the kernel; run: modprobe {name}"))
}

fn seccomp() -> Result<String, String> {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if actions.split_whitespace().any(|action| action == "errno") {
        Ok("filters work".to_owned())
    } else {
        Err("the kernel has no seccomp filters; use one built with CONFIG_SECCOMP_FILTER".to_owned())
    }
}

fn controller(name: &str) -> Result<String, String> {
    let v2 = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    if v2.split_whitespace().any(|c| c == name) {
        return Ok("cgroup v2".to_owned());
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let v1 = mounts
        .lines()
        .filter(|line| line.split(' ').nth(2) == Some("cgroup"));
    if v1
        .filter_map(|line| line.split(' ').nth(3))
        .any(|options| options.split(',').any(|o| o == name))
    {
        return Ok("cgroup v1".to_owned());
    }
    Err(format!(
        "the {name} controller is not mounted; boot with cgroup v2, or mount it below /sys/fs/cgroup"
    ))
}
