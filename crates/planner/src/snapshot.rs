//! The picture a decision is made from.
//!
//! Times are nanoseconds since 1970. Everything is read at one moment, or as close to it as the caller can;
//! [`crate::REPORT_GRACE`] covers what is on its way between database and cells.

use model::{CellId, InstanceGuid, LrpState, ProcessGuid};

/// Desired state, actual state and cells at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When it was taken.
    pub now_ns: i64,
    /// Whether apps made from images may run.
    pub docker: DockerFlag,
    /// Processes of started apps, each once. A stopped app's processes are not listed.
    pub desired: Vec<DesiredLrp>,
    /// Every row of actual LRPs.
    pub actual: Vec<ActualLrp>,
    /// Every cell the rows name or that could take work, each once. Instances of a cell that is not listed are
    /// left alone, so a cell that is gone must be listed as [`CellHealth::Lost`].
    pub cells: Vec<CellState>,
}

/// The feature flag `diego_docker`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DockerFlag {
    /// Apps made from images run.
    #[default]
    Enabled,
    /// They are stopped, and come back when the flag does.
    Disabled,
}

/// How an app is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// From an image; subject to [`DockerFlag`].
    Docker,
    /// From source.
    Buildpack,
}

/// What one instance takes, or a cell has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Memory, MiB.
    pub memory_mb: u64,
    /// Disk, MiB.
    pub disk_mb: u64,
    /// Containers.
    pub containers: u64,
}

/// A process that should run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredLrp {
    /// The process.
    pub process: ProcessGuid,
    /// Its version; a new one replaces all instances at once.
    pub version: String,
    /// How many instances; indices are `0..instances`.
    pub instances: u32,
    /// Memory of one instance, MiB.
    pub memory_mb: u64,
    /// Disk of one instance, MiB.
    pub disk_mb: u64,
    /// How its app is made.
    pub lifecycle: Lifecycle,
    /// Architecture its image needs, in Go's spelling; `None` runs anywhere.
    pub architecture: Option<String>,
}

/// An instance as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActualLrp {
    /// The instance, and the id of its container.
    pub instance: InstanceGuid,
    /// Process it belongs to.
    pub process: ProcessGuid,
    /// Version of the process it was made for.
    pub version: String,
    /// Its index.
    pub index: u32,
    /// Where it stands.
    pub state: LrpState,
    /// Cell that has it; set exactly when claimed or running.
    pub cell: Option<CellId>,
    /// Crashes so far, see [`crate::on_crash`].
    pub crash_count: u32,
    /// When it came into this state.
    pub since_ns: i64,
    /// Why it could not be placed the last time.
    pub placement_error: Option<String>,
    /// Not before this time: for a crashed instance the end of its back-off (computed from `crash_count` and
    /// `since_ns` when absent), for an unclaimed one the end of a pause after a fault of the platform.
    pub retry_at_ns: Option<i64>,
    /// Memory and disk its container was given, MiB, if known; otherwise the process' present values count.
    pub size: Option<(u64, u64)>,
}

/// What is known of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellHealth {
    /// Its lease holds; takes work.
    Alive,
    /// Its lease holds; takes no work, keeps what it has.
    Evacuating,
    /// Not heard of since this scheduler started, and its lease may still hold: left alone.
    Unknown,
    /// Its lease ran out: its instances are started elsewhere.
    Lost,
}

/// A cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellState {
    /// The cell.
    pub id: CellId,
    /// What it has in total, as far as instances may use it.
    pub capacity: Resources,
    /// Its architecture, in Go's spelling.
    pub architecture: String,
    /// Whether it can be relied on.
    pub health: CellHealth,
    /// Instances the cell says it has, ended ones left out; `None` until its first full report.
    pub held: Option<Vec<Held>>,
}

/// An instance a cell says it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The instance.
    pub instance: InstanceGuid,
    /// When its present phase began.
    pub since_ns: i64,
}

impl Resources {
    pub(crate) fn of_instance(memory_mb: u64, disk_mb: u64) -> Self {
        Self {
            memory_mb,
            disk_mb,
            containers: 1,
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            memory_mb: self.memory_mb.saturating_add(other.memory_mb),
            disk_mb: self.disk_mb.saturating_add(other.disk_mb),
            containers: self.containers.saturating_add(other.containers),
        }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self {
            memory_mb: self.memory_mb.saturating_sub(other.memory_mb),
            disk_mb: self.disk_mb.saturating_sub(other.disk_mb),
            containers: self.containers.saturating_sub(other.containers),
        }
    }

    pub(crate) fn covers(self, other: Self) -> bool {
        self.memory_mb >= other.memory_mb
            && self.disk_mb >= other.disk_mb
            && self.containers >= other.containers
    }
}

impl ActualLrp {
    /// Whether a container may exist for it.
    pub(crate) fn has_container(&self) -> bool {
        matches!(self.state, LrpState::Claimed | LrpState::Running)
    }
}
