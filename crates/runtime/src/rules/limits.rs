//! Limits: memory without swap, CPU by weight, processes, and which device nodes work.
//!
//! Rules: cloudfoundry/guardian:rundmc/bundlerules/limits.go; device list as every container engine has it.

use crate::oci::{Cpu, Device, Memory, Pids, Resources};
use crate::spec::ContainerSpec;

/// The platform's own init, which is not the tenant's to pay for.
const OWN_PIDS: u64 = 1;

/// Where the container's cgroup is below the root of each hierarchy.
pub fn path(spec: &ContainerSpec, cgroup_root: &str) -> String {
    format!("/{cgroup_root}/{}", spec.id)
}

/// What the cgroups allow.
pub fn resources(spec: &ContainerSpec) -> Resources {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let memory = signed(spec.limits.memory_bytes);
    Resources {
        // Memory plus swap may be as much as memory alone: no swap.
        memory: Memory {
            limit: memory,
            swap: memory,
        },
        cpu: Cpu {
            shares: spec.limits.cpu_shares.clamp(2, 262_144),
        },
        pids: Pids {
            limit: signed(spec.limits.pids.saturating_add(OWN_PIDS)),
        },
        devices: devices(),
    }
}

/// Deny all; then making any node, and using null, full, zero, random, urandom, tty, ptmx and pty slaves.
fn devices() -> Vec<Device> {
    let rule = |allow, kind: &str, major: Option<i64>, minor: Option<i64>, access: &str| Device {
        allow,
        kind: kind.to_owned(),
        major,
        minor,
        access: access.to_owned(),
    };
    let mut rules = vec![
        rule(false, "a", None, None, "rwm"),
        rule(true, "c", None, None, "m"),
        rule(true, "b", None, None, "m"),
    ];
    for (major, minor) in [(1, 3), (1, 7), (1, 5), (1, 8), (1, 9), (5, 0), (5, 2)] {
        rules.push(rule(true, "c", Some(major), Some(minor), "rwm"));
    }
    rules.push(rule(true, "c", Some(136), None, "rwm"));
    rules
}
