//! What can go wrong, in the words of whoever has to act on it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why an operation on a container failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The specification cannot be run; retrying does not help.
    #[error("container specification refused: {what}")]
    Invalid {
        /// Field and reason.
        what: String,
    },
    /// A container of this id exists, running or not.
    #[error("container {id} exists already; delete it first")]
    Exists {
        /// The id.
        id: String,
    },
    /// There is no such container.
    #[error("container {id} does not exist")]
    NotFound {
        /// The id.
        id: String,
    },
    /// The container was not made; nothing of it is left.
    #[error("container {id} could not be set up: {reason}")]
    Setup {
        /// The id.
        id: String,
        /// What failed, with its causes.
        reason: String,
    },
    /// The program could not be run; the container has ended with this as its exit record.
    #[error("{reason}")]
    Start {
        /// What failed, for the app's developer.
        reason: String,
    },
    /// The operation does not fit the container's state.
    #[error("container {id}: {reason}")]
    State {
        /// The id.
        id: String,
        /// What is in the way.
        reason: String,
    },
    /// The container's shim did not answer.
    #[error("container {id}: no answer to {what} within {}s", .after.as_secs())]
    Timeout {
        /// The id.
        id: String,
        /// What was asked.
        what: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// Talking to the shim failed; it may have ended meanwhile.
    #[error("container {id}: lost the connection to its shim")]
    Connection {
        /// The id.
        id: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file of ours could not be used.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// A verb.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The control groups could not be used.
    #[error("control groups")]
    Cgroup(#[from] crate::cgroup::CgroupError),
}

/// Adds what was done with which file to an I/O error.
pub(crate) fn file<T>(
    result: io::Result<T>,
    action: &'static str,
    path: impl Into<PathBuf>,
) -> Result<T, Error> {
    result.map_err(|source| Error::File {
        action,
        path: path.into(),
        source,
    })
}
