//! The `linux` section of a bundle.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything Linux.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Linux {
    /// New namespaces, or those to join.
    pub namespaces: Vec<Namespace>,
    /// User id map.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group id map.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<IdMapping>,
    /// Path below the root of each hierarchy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cgroups_path: String,
    /// Limits.
    pub resources: Resources,
    /// System calls; absent means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Seccomp>,
    /// Kernel settings of the namespaces, `a.b.c` → value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctl: BTreeMap<String, String>,
    /// Paths that show nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub masked_paths: Vec<String>,
    /// Paths that cannot be written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub readonly_paths: Vec<String>,
    /// Device nodes beside those every container has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceNode>,
}

impl Linux {
    /// Whether the container gets a new namespace of this kind.
    pub fn makes(&self, kind: &str) -> bool {
        self.namespaces
            .iter()
            .any(|one| one.kind == kind && one.path.is_none())
    }

    /// Whether the container is in another namespace of this kind than its maker.
    pub fn has(&self, kind: &str) -> bool {
        self.namespaces.iter().any(|one| one.kind == kind)
    }
}

/// One namespace to make or to join.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// `pid`, `network`…
    #[serde(rename = "type")]
    pub kind: String,
    /// The namespace to join; absent means a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// One line of an id map.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct IdMapping {
    /// First id inside.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// First id on the host.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

/// Limits; what is absent is not limited.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Memory.
    pub memory: Memory,
    /// CPU.
    pub cpu: Cpu,
    /// Processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<Pids>,
    /// Device nodes; in ours the first rule denies all.
    pub devices: Vec<Device>,
}

/// Memory, bytes; negative means unlimited.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Memory plus swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<i64>,
    /// What is left to it when others want memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<i64>,
}

/// CPU.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Cpu {
    /// Relative weight, 2..=262144.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares: Option<u64>,
    /// Microseconds of CPU in each period; not positive means unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<i64>,
    /// Microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<u64>,
}

/// Processes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Pids {
    /// Processes and threads; not positive means unlimited.
    pub limit: i64,
}

/// A rule about device nodes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    /// Allow or deny.
    pub allow: bool,
    /// `c`, `b` or `a`; empty means `a`.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Major number; none means any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub major: Option<i64>,
    /// Minor number; none means any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minor: Option<i64>,
    /// Letters of `rwm`.
    pub access: String,
}

/// A device node to show inside.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceNode {
    /// Absolute path inside.
    pub path: String,
    /// `c`, `u`, `b` or `p`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub file_mode: Option<u32>,
    /// Owner inside.
    pub uid: Option<u32>,
    /// Group inside.
    pub gid: Option<u32>,
}

/// System calls.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Seccomp {
    /// For calls no rule names.
    pub default_action: String,
    /// Its errno.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// Architectures the numbers are for.
    pub architectures: Vec<String>,
    /// Flags of seccomp(2).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// Rules.
    pub syscalls: Vec<SeccompRule>,
}

/// One rule over system calls.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SeccompRule {
    /// Calls by name.
    pub names: Vec<String>,
    /// What becomes of them.
    pub action: String,
    /// Errno of `SCMP_ACT_ERRNO`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// All must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<SeccompArg>,
}

/// A comparison of one argument.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SeccompArg {
    /// 0..=5.
    pub index: u32,
    /// Operand, or the mask of `SCMP_CMP_MASKED_EQ`.
    pub value: u64,
    /// Second operand.
    pub value_two: u64,
    /// `SCMP_CMP_…`.
    pub op: String,
}
