//! The parts of an OCI bundle's `config.json` this platform writes and reads.
//!
//! Names and meanings: opencontainers/runtime-spec:config.md and config-linux.md, version 1.2.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The version written into bundles.
pub const VERSION: &str = "1.2.0";

/// `config.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Version of the specification.
    pub oci_version: String,
    /// Name in the uts namespace.
    pub hostname: String,
    /// Root filesystem.
    pub root: Root,
    /// The program.
    pub process: Process,
    /// In mount order.
    pub mounts: Vec<Mount>,
    /// Everything Linux.
    pub linux: Linux,
    /// Facts of ours the specification has no field for.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// Root filesystem.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Root {
    /// Absolute directory on the host.
    pub path: PathBuf,
    /// Mount it read-only.
    #[serde(default)]
    pub readonly: bool,
}

/// The program and what it runs as.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Never: no pty.
    pub terminal: bool,
    /// Ids inside the container.
    pub user: User,
    /// Program and arguments.
    pub args: Vec<String>,
    /// `NAME=value`; may hold secrets.
    pub env: Vec<String>,
    /// Working directory inside.
    pub cwd: String,
    /// Capability sets.
    pub capabilities: Capabilities,
    /// Resource limits of the process.
    pub rlimits: Vec<Rlimit>,
    /// Off: set-user-id programs work inside.
    pub no_new_privileges: bool,
}

/// Shows no environment and no arguments: they hold secrets.
impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process")
            .field("user", &self.user)
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}

/// Ids inside the container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Capability sets by name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Capabilities {
    /// The most anything inside can ever have.
    pub bounding: Vec<String>,
    /// Of a program run as root.
    pub effective: Vec<String>,
    /// Of a program run as root.
    pub permitted: Vec<String>,
    /// Empty.
    #[serde(default)]
    pub inheritable: Vec<String>,
    /// Empty: a program run as another user has none.
    #[serde(default)]
    pub ambient: Vec<String>,
}

/// One resource limit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_…`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Ceiling.
    pub hard: u64,
    /// Current.
    pub soft: u64,
}

/// One mount.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside.
    pub destination: String,
    /// Filesystem or `bind`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Host path of a bind mount.
    pub source: String,
    /// Flags by their mount(8) names, and data for the filesystem.
    #[serde(default)]
    pub options: Vec<String>,
}

/// Everything Linux.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Linux {
    /// New namespaces.
    pub namespaces: Vec<Namespace>,
    /// User id map.
    pub uid_mappings: Vec<IdMapping>,
    /// Group id map.
    pub gid_mappings: Vec<IdMapping>,
    /// Path below the root of each hierarchy.
    pub cgroups_path: String,
    /// Limits.
    pub resources: Resources,
    /// System calls.
    pub seccomp: Seccomp,
    /// Kernel settings of the namespaces, `a.b.c` → value.
    pub sysctl: BTreeMap<String, String>,
    /// Paths that show nothing.
    pub masked_paths: Vec<String>,
    /// Paths that cannot be written.
    pub readonly_paths: Vec<String>,
}

/// One namespace to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Namespace {
    /// `pid`, `network`…
    #[serde(rename = "type")]
    pub kind: String,
}

/// One line of an id map.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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

/// Limits.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Resources {
    /// Memory.
    pub memory: Memory,
    /// CPU.
    pub cpu: Cpu,
    /// Processes.
    pub pids: Pids,
    /// Device nodes; the first rule denies all.
    pub devices: Vec<Device>,
}

/// Memory, bytes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Memory.
    pub limit: i64,
    /// Memory plus swap.
    pub swap: i64,
}

/// CPU.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Cpu {
    /// Relative weight, 2..=262144.
    pub shares: u64,
}

/// Processes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pids {
    /// Processes and threads.
    pub limit: i64,
}

/// A rule about device nodes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Device {
    /// Allow or deny.
    pub allow: bool,
    /// `c`, `b` or `a`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Major number; none means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major: Option<i64>,
    /// Minor number; none means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minor: Option<i64>,
    /// Letters of `rwm`.
    pub access: String,
}

/// System calls.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seccomp {
    /// For calls no rule names.
    pub default_action: String,
    /// Its errno.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// Architectures the numbers are for.
    pub architectures: Vec<String>,
    /// Rules.
    pub syscalls: Vec<SeccompRule>,
}

/// One rule over system calls.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeccompRule {
    /// Calls by name.
    pub names: Vec<String>,
    /// What becomes of them.
    pub action: String,
    /// Errno of `SCMP_ACT_ERRNO`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// All must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<SeccompArg>,
}

/// A comparison of one argument.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeccompArg {
    /// 0..=5.
    pub index: u32,
    /// Operand, or the mask of `SCMP_CMP_MASKED_EQ`.
    pub value: u64,
    /// Second operand.
    #[serde(default)]
    pub value_two: u64,
    /// `SCMP_CMP_…`.
    pub op: String,
}
