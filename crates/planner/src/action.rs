//! What the planner asks the scheduler to do.
//!
//! Actions are carried out in the order given: room is made before it is used, rows exist before they are placed.
//! Each is safe to lose and safe to repeat, because the next pass sees the world as it then is.

use model::{CellId, InstanceGuid, ProcessGuid};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell the cell to end the instance gracefully, and take it off the routes now. Its row, if it has one, stays
    /// until the cell reports the end. Repeated each pass until then.
    Stop {
        /// The instance.
        instance: InstanceGuid,
        /// Cell that has it.
        cell: CellId,
        /// Why.
        reason: StopReason,
    },
    /// Delete the row: it is not wanted and has no container on a cell that can be reached.
    Retire {
        /// The instance.
        instance: InstanceGuid,
        /// Why.
        reason: StopReason,
    },
    /// Insert a row, unclaimed, without crashes.
    Create {
        /// Its new id.
        instance: InstanceGuid,
        /// Process it belongs to.
        process: ProcessGuid,
        /// Version it is for.
        version: String,
        /// Its index.
        index: u32,
    },
    /// Make the row unclaimed under a new id, because ids of containers are never reused. The crash count stays;
    /// cell, address, retry time and placement error are cleared.
    Restart {
        /// The instance that is no more.
        instance: InstanceGuid,
        /// Its successor in the same row.
        replacement: InstanceGuid,
        /// Why.
        cause: RestartCause,
    },
    /// Claim the row for the cell, clear its placement error and retry time, then tell the cell to run it. If the
    /// cell refuses, unclaim the row under the same id; if the answer is lost, leave it claimed.
    Place {
        /// The instance.
        instance: InstanceGuid,
        /// Where.
        cell: CellId,
    },
    /// Tell the cell again to run an instance it was already given: the first order seems lost. The row stays.
    RunAgain {
        /// The instance.
        instance: InstanceGuid,
        /// Where.
        cell: CellId,
    },
    /// Write the placement error into the row; the instance stays unclaimed and is tried at every pass.
    PlacementFailed {
        /// The instance.
        instance: InstanceGuid,
        /// Text for users, as the reference words it.
        error: String,
    },
    /// Run a pass no later than this time, nanoseconds since 1970: something falls due. At most one, the last.
    WakeAt(i64),
}

/// Why an instance is not wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// The process is stopped or deleted.
    NotDesired,
    /// Its index is beyond the number of instances.
    Surplus,
    /// Made for an older version of the process.
    OldVersion,
    /// The feature flag `diego_docker` is off.
    DockerDisabled,
    /// Another instance holds the same index.
    Duplicate,
    /// A cell has it, but no row says it should.
    Unknown,
}

/// Why an instance starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RestartCause {
    /// It crashed and its back-off is over.
    Crashed,
    /// Its cell's lease ran out; not a crash.
    CellLost,
    /// It ran, but its cell no longer knows it; not a crash.
    Vanished,
}
