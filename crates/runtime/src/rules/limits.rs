//! Limits: memory without swap, CPU by weight, processes, and which device nodes work.
//!
//! Rules: cloudfoundry/guardian:rundmc/bundlerules/limits.go; device list as every container engine has it.

use crate::oci::{Cpu, Device, Memory, Pids, Resources};
use crate::spec::ContainerSpec;

/// Where the container's cgroup is below the root of each hierarchy.
pub fn path(spec: &ContainerSpec, cgroup_root: &str) -> String {
    format!("/{cgroup_root}/{}", spec.id)
}

/// What the cgroups allow; `own_pids` processes inside are the platform's, not the tenant's to pay for.
pub fn resources(spec: &ContainerSpec, own_pids: u64) -> Resources {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let memory = signed(spec.limits.memory_bytes);
    Resources {
        // Memory plus swap may be as much as memory alone: no swap.
        memory: Memory {
            limit: Some(memory),
            swap: Some(memory),
            reservation: None,
        },
        cpu: Cpu {
            shares: Some(spec.limits.cpu_shares.clamp(2, 262_144)),
            ..Cpu::default()
        },
        pids: Some(Pids {
            limit: signed(spec.limits.pids.saturating_add(own_pids)),
        }),
        devices: devices(),
    }
}

/// Deny all; then making any node, and using those every container has.
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
    rules.extend(usual_devices());
    rules
}

/// Using null, full, zero, random, urandom, tty, ptmx and pty slaves.
pub fn usual_devices() -> Vec<Device> {
    let rule = |major: i64, minor: Option<i64>| Device {
        allow: true,
        kind: "c".to_owned(),
        major: Some(major),
        minor,
        access: "rwm".to_owned(),
    };
    let mut rules = Vec::new();
    for (major, minor) in [(1, 3), (1, 7), (1, 5), (1, 8), (1, 9), (5, 0), (5, 2)] {
        rules.push(rule(major, Some(minor)));
    }
    rules.push(rule(136, None));
    rules
}
