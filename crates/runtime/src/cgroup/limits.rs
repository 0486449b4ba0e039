//! Writing limits, in the words of either version.

use std::path::Path;

use super::{CgroupError, Kind, write};
use crate::oci::{Device, Resources};

/// Microseconds a CPU quota is for when the bundle does not say, the kernel's own value.
const PERIOD: u64 = 100_000;

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
            set(dir, "memory.limit_in_bytes", resources.memory.limit)?;
            // Absent on kernels booted without swap accounting, where swap cannot be limited.
            if dir.join("memory.memsw.limit_in_bytes").exists() {
                set(dir, "memory.memsw.limit_in_bytes", resources.memory.swap)?;
            }
            set(dir, "memory.soft_limit_in_bytes", resources.memory.reservation)
        }
        "cpu" => {
            set(dir, "cpu.shares", resources.cpu.shares)?;
            set(dir, "cpu.cfs_period_us", resources.cpu.period)?;
            set(dir, "cpu.cfs_quota_us", resources.cpu.quota)
        }
        "pids" => set(dir, "pids.max", resources.pids.map(|pids| most(pids.limit))),
        "devices" => resources.devices.iter().try_for_each(|rule| device(dir, rule)),
        _ => Ok(()),
    }
}

/// Writes a limit that is set.
fn set(dir: &Path, file: &str, value: Option<impl ToString>) -> Result<(), CgroupError> {
    match value {
        Some(value) => write(&dir.join(file), &value.to_string()),
        None => Ok(()),
    }
}

/// A number, or the kernel's word for none.
fn most(limit: i64) -> String {
    if limit > 0 {
        limit.to_string()
    } else {
        "max".to_owned()
    }
}

fn device(dir: &Path, rule: &Device) -> Result<(), CgroupError> {
    let file = dir.join(if rule.allow {
        "devices.allow"
    } else {
        "devices.deny"
    });
    if rule.kind == "a" || rule.kind.is_empty() {
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
    let (memory, cpu) = (&resources.memory, &resources.cpu);
    let swap = match (memory.swap, memory.limit) {
        (Some(swap), Some(limit)) if swap >= 0 => Some((swap - limit).max(0).to_string()),
        (Some(_), _) => Some("max".to_owned()),
        (None, _) => None,
    };
    let quota = cpu
        .quota
        .map(|quota| format!("{} {}", most(quota), cpu.period.unwrap_or(PERIOD)));
    let values = [
        ("memory.max", memory.limit.map(most)),
        ("memory.swap.max", swap),
        ("memory.low", memory.reservation.map(most)),
        ("cpu.weight", cpu.shares.map(|shares| weight(shares).to_string())),
        ("cpu.max", quota),
        ("pids.max", resources.pids.map(|pids| most(pids.limit))),
    ];
    for (file, value) in values {
        // Absent in the bare tree of a hybrid machine, whose controllers live in version 1.
        if dir.join(file).exists() {
            set(dir, file, value)?;
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
