//! Writing limits, in the words of either version.

use std::path::Path;

use super::{CgroupError, Kind, write};
use crate::oci::{Device, Resources};

/// Sets the limits the hierarchy of `dir` knows.
pub(super) fn apply(dir: &Path, kind: &Kind, resources: &Resources) -> Result<(), CgroupError> {
    match kind {
        Kind::V1(options) => options
            .iter()
            .try_for_each(|option| version_one(dir, option, resources)),
        Kind::V2 => version_two(dir, resources),
    }
}

fn version_one(dir: &Path, controller: &str, resources: &Resources) -> Result<(), CgroupError> {
    match controller {
        "memory" => {
            write(
                &dir.join("memory.limit_in_bytes"),
                &resources.memory.limit.to_string(),
            )?;
            // Absent on kernels booted without swap accounting, where swap cannot be limited.
            let with_swap = dir.join("memory.memsw.limit_in_bytes");
            if with_swap.exists() {
                write(&with_swap, &resources.memory.swap.to_string())?;
            }
            Ok(())
        }
        "cpu" => write(&dir.join("cpu.shares"), &resources.cpu.shares.to_string()),
        "pids" => write(&dir.join("pids.max"), &resources.pids.limit.to_string()),
        "devices" => resources.devices.iter().try_for_each(|rule| device(dir, rule)),
        _ => Ok(()),
    }
}

fn device(dir: &Path, rule: &Device) -> Result<(), CgroupError> {
    let file = dir.join(if rule.allow {
        "devices.allow"
    } else {
        "devices.deny"
    });
    if rule.kind == "a" {
        return write(&file, "a");
    }
    let part = |number: Option<i64>| number.map_or("*".to_owned(), |n| n.to_string());
    write(
        &file,
        &format!(
            "{} {}:{} {}",
            rule.kind,
            part(rule.major),
            part(rule.minor),
            rule.access
        ),
    )
}

/// Devices have no files here; the user namespace alone keeps their nodes from working.
fn version_two(dir: &Path, resources: &Resources) -> Result<(), CgroupError> {
    let swap = (resources.memory.swap - resources.memory.limit).max(0);
    for (file, value) in [
        ("memory.max", resources.memory.limit.to_string()),
        ("memory.swap.max", swap.to_string()),
        ("cpu.weight", weight(resources.cpu.shares).to_string()),
        ("pids.max", resources.pids.limit.to_string()),
    ] {
        let path = dir.join(file);
        // Absent in the bare tree of a hybrid machine, whose controllers live in version 1.
        if path.exists() {
            write(&path, &value)?;
        }
    }
    Ok(())
}

/// Shares 2..=262144 to weight 1..=10000, linearly, as all runtimes do (containers/crun:crun.1.md).
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::weight;

    #[test]
    fn weights_span_their_range() {
        assert_eq!(
            (weight(2), weight(1024), weight(262_144), weight(u64::MAX)),
            (1, 39, 10_000, 10_000)
        );
    }
}
