//! The built-in container runtime: an instance becomes a standard OCI bundle and runs, held by a small process of its
//! own (the shim) that outlives the daemon.
//!
//! Knows bundles, namespaces, control groups and the shim's protocol. Does not know apps, images or networks: the
//! caller brings a mounted root filesystem and attaches links to the network namespace between [`Runtime::create`] and
//! [`Runtime::start`].
//!
//! ```text
//!             create              start             program ends, kill, shim killed
//!   (nothing) ──────▶ Created{pid} ────▶ Running{pid} ──────────────────────────▶ Exited(Exit)
//!       ▲                 │                  │                                        │
//!       └─────────────────┴──────────────────┴──────────── delete ────────────────────┘
//! ```
//!
//! Every kernel object is named after the container's id, so [`Runtime::delete`] needs no memory of what was made.
//! [`Runtime::list`] on start finds what earlier daemons left running.

mod account;
mod cgroup;
mod control;
mod end;
mod error;
mod exec;
mod external;
mod init;
mod log;
mod oci;
mod oci_cli;
mod protocol;
mod record;
mod rules;
mod runtime;
mod seccomp;
mod shim;
mod signal;
mod spec;

pub use cgroup::{CgroupError, Stats};
pub use error::Error;
pub use exec::{ExecHandle, ExecInput, ExecOutput};
pub use external::OciRuntime;
pub use log::{LONGEST_LINE, LogEvent, LogLine, LogReader, Stream};
pub use oci_cli::command_main;
pub use record::{Exit, ExitCause};
pub use runtime::{Runtime, Settings, State};
pub use shim::shim_main;
pub use signal::{Signal, UnknownSignal};
pub use spec::{BindFile, ContainerSpec, ExecSpec, IdRange, WindowSize};
