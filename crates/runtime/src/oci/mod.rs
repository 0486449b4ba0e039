//! The parts of an OCI bundle's `config.json` this platform writes and reads.
//!
//! Names and meanings: opencontainers/runtime-spec:config.md and config-linux.md. What is written is version 1.0.2
//! with fields later versions added as optional ones; what is read may be anything up to 1.2 (see [`crate::oci_cli`]
//! for how unsupported parts of foreign bundles are refused).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

mod linux;

pub use linux::{
    Cpu, Device, DeviceNode, IdMapping, Linux, Memory, Namespace, Pids, Resources, Seccomp, SeccompArg,
    SeccompRule,
};

/// The version written into bundles: the newest one both reference runtimes of the distributions know.
pub const VERSION: &str = "1.0.2";

/// `config.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// Version of the specification.
    pub oci_version: String,
    /// Name in the uts namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// NIS name in the uts namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domainname: String,
    /// Root filesystem.
    pub root: Root,
    /// The program.
    pub process: Process,
    /// In mount order.
    pub mounts: Vec<Mount>,
    /// Everything Linux.
    pub linux: Linux,
    /// Programs of the host to run at moments of the container's life.
    #[serde(skip_serializing_if = "Hooks::is_empty")]
    pub hooks: Hooks,
    /// Facts of ours the specification has no field for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Root filesystem.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Root {
    /// Directory on the host; ours is absolute, a foreign one may be relative to its bundle.
    pub path: PathBuf,
    /// Mount it read-only.
    pub readonly: bool,
}

/// The program and what it runs as.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Process {
    /// Whether its standard descriptors are a pty.
    pub terminal: bool,
    /// The pty's first size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<ConsoleSize>,
    /// Ids inside the container.
    pub user: User,
    /// Program and arguments.
    pub args: Vec<String>,
    /// `NAME=value`; may hold secrets.
    pub env: Vec<String>,
    /// Working directory inside.
    pub cwd: String,
    /// Capability sets; absent means none.
    pub capabilities: Capabilities,
    /// Resource limits of the process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<Rlimit>,
    /// Ours: off, set-user-id programs work inside.
    pub no_new_privileges: bool,
    /// How readily the kernel kills it for want of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
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

/// Rows and columns of a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleSize {
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// Ids inside the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_gids: Vec<u32>,
    /// File mode mask; absent means 022.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
}

/// Capability sets by name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// The most anything inside can ever have.
    pub bounding: Vec<String>,
    /// In force when the program starts.
    pub effective: Vec<String>,
    /// May be put in force.
    pub permitted: Vec<String>,
    /// Kept by programs that have them as file capabilities. Ours: empty.
    pub inheritable: Vec<String>,
    /// Kept by any program. Ours: empty, so a program run as another user than root has none.
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
#[serde(default)]
pub struct Mount {
    /// Absolute path inside.
    pub destination: String,
    /// Filesystem or `bind`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Host path of a bind mount.
    pub source: String,
    /// Flags by their mount(8) names, and data for the filesystem.
    pub options: Vec<String>,
}

impl Mount {
    /// Whether it shows something of the host rather than a filesystem of its own.
    pub fn is_bind(&self) -> bool {
        self.kind == "bind"
            || self
                .options
                .iter()
                .any(|option| option == "bind" || option == "rbind")
    }

    /// Whether what is mounted below the source is shown too.
    pub fn is_recursive(&self) -> bool {
        let named = |name: &str| self.options.iter().any(|option| option == name);
        named("rbind") || (self.kind == "bind" && !named("bind"))
    }
}

/// Programs to run, by moment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooks {
    /// The older name of `create_runtime`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prestart: Vec<Hook>,
    /// When the namespaces exist.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub create_runtime: Vec<Hook>,
    /// When the program was started.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<Hook>,
    /// When the container was deleted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<Hook>,
}

impl Hooks {
    fn is_empty(&self) -> bool {
        [
            &self.prestart,
            &self.create_runtime,
            &self.poststart,
            &self.poststop,
        ]
        .iter()
        .all(|hooks| hooks.is_empty())
    }
}

/// One program of the host; the container's state is its standard input.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// Absolute path on the host.
    pub path: PathBuf,
    /// Arguments, the program's name first.
    pub args: Vec<String>,
    /// `NAME=value`; nothing else is in its environment.
    pub env: Vec<String>,
    /// Seconds after which it is killed.
    pub timeout: Option<u64>,
}
