//! What is remembered of a container between two commands.
//!
//! ```text
//! <root>/<id>/     0700
//!   state.json     what it is and which process it has
//!   config.json    its bundle, as it was understood
//!   start.sock     pid 1 listens here until it has become the program
//! ```

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::init::{During, Failure};
use crate::oci::Spec;
use crate::record::{names, write_whole};

/// Files of a container.
const STATE: &str = "state.json";
/// The socket of a container that was not started.
pub const START: &str = "start.sock";

/// `state.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// The directory it was made from.
    pub bundle: PathBuf,
    /// Its process.
    pub pid: i32,
    /// When that process began, in clock ticks since the boot: numbers are used again.
    pub began: u64,
    /// Its groups.
    pub cgroups_path: String,
    /// Whether `start` has succeeded.
    pub started: bool,
}

/// The words of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its program was not run yet.
    Created,
    /// Its program runs.
    Running,
    /// Its process has ended.
    Stopped,
}

impl Status {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Stopped => "stopped",
        }
    }
}

impl Container {
    /// Its status and, while it lives, a handle on its process.
    pub fn status(&self) -> (Status, Option<OwnedFd>) {
        let handle = Pid::from_raw(self.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        // Asked for after the handle was made: it is the same process then, and no zombie.
        match (handle, began(self.pid)) {
            (Some(handle), Some(began)) if began == self.began => {
                let status = if self.started {
                    Status::Running
                } else {
                    Status::Created
                };
                (status, Some(handle))
            }
            _ => (Status::Stopped, None),
        }
    }

    /// The state as the specification has it, for `state` and hooks.
    pub fn state(&self, spec: &Spec, status: &str) -> serde_json::Value {
        serde_json::json!({
            "ociVersion": crate::oci::VERSION,
            "id": self.id,
            "status": status,
            "pid": if status == "stopped" { 0 } else { self.pid },
            "bundle": self.bundle,
            "annotations": spec.annotations,
        })
    }
}

/// Field 22 of proc_pid_stat(5), unless the process is dead.
pub fn began(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    // State is field 3; 18 more lie between it and the start.
    let began = fields.nth(18)?.parse().ok()?;
    (state != "Z" && state != "X").then_some(began)
}

/// The directory of one container.
#[derive(Clone, Debug)]
pub struct Place(pub PathBuf);

impl Place {
    /// Where `id` is or would be.
    pub fn of(root: &Path, id: &str) -> Self {
        Self(root.join(id))
    }

    /// Makes it.
    pub fn make(&self, id: &str) -> Result<(), Failure> {
        let root = self.0.parent().unwrap_or(Path::new("/"));
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700).recursive(true);
        builder.create(root).during(format!("make {}", root.display()))?;
        match fs::DirBuilder::new().mode(0o700).create(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Failure::refused(format!("container {id} exists already")))
            }
            made => made.during(format!("make {}", self.0.display())),
        }
    }

    /// What is remembered.
    pub fn load(&self, id: &str) -> Result<(Container, Spec), Failure> {
        let step = || format!("read what is known of container {id}");
        let state = match fs::read(self.0.join(STATE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Failure::refused(format!("container {id} does not exist")));
            }
            read => read.during(step())?,
        };
        let config = fs::read(self.0.join(names::CONFIG)).during(step())?;
        let state = serde_json::from_slice(&state)
            .map_err(io::Error::from)
            .during(step())?;
        let config = serde_json::from_slice(&config)
            .map_err(io::Error::from)
            .during(step())?;
        Ok((state, config))
    }

    /// Remembers the bundle.
    pub fn save_bundle(&self, spec: &Spec) -> Result<(), Failure> {
        let json = serde_json::to_vec(spec)
            .map_err(io::Error::from)
            .during("write the bundle")?;
        write_whole(&self.0.join(names::CONFIG), &json).during("write the bundle")
    }

    /// Remembers the container.
    pub fn save(&self, container: &Container) -> Result<(), Failure> {
        let json = serde_json::to_vec(container)
            .map_err(io::Error::from)
            .during("write the state")?;
        write_whole(&self.0.join(STATE), &json).during("write the state")
    }

    /// Forgets it.
    pub fn remove(&self) -> Result<(), Failure> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.during(format!("remove {}", self.0.display())),
        }
    }
}
