//! Other OCI runtimes: the same shim, bundle, socket, output and exit record; only the container is made by a program
//! of the operator's choice with the usual command line (`create`, `start`, `kill`, `exec`, `delete`).
//!
//! ```text
//! daemon ── spawn ──▶ shim ── runs ──▶ PATH create ── clone ──▶ pid 1: the program, left to the shim
//! ```
//!
//! The shim lives in a mount namespace of its own (see [`area`]). What differs from the built-in runtime is that the
//! program is pid 1 itself, and that it outlives a killed shim until a daemon looks.

use std::path::PathBuf;

mod area;
mod call;
mod command;
mod container;

pub(crate) use area::on_host;
pub(crate) use command::exec;
pub(crate) use container::{Container, named};

/// Which runtime makes containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OciRuntime {
    /// Ours.
    #[default]
    BuiltIn,
    /// The program at this absolute path, with the command line of crun and runc.
    External(PathBuf),
}
