//! What daemon and shim say to each other over the shim's socket: one JSON object per line, each request answered by
//! one reply. After `subscribe` the shim sends an empty line whenever output was written, and closes when it ends.
//!
//! Daemon and shim may be of different versions: fields are only ever added.

use serde::{Deserialize, Serialize};

/// The longest line either side accepts.
pub const LONGEST_LINE: usize = 1 << 20;

/// A question to the shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Run the program; answered when it runs or could not be run.
    Start,
    /// Send the program a signal.
    Signal {
        /// Its number.
        number: i32,
    },
    /// Kill everything in the container.
    Kill,
    /// Say how things are.
    State,
    /// Send an empty line on new output.
    Subscribe,
}

/// The shim's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Why not; absent means done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether the container has ended because its program could not be run.
    #[serde(default)]
    pub start_failed: bool,
    /// Host pid of the container's init.
    pub pid: i32,
    /// When the program was started, nanoseconds since 1970; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<i64>,
}

/// The one line a shim writes to its standard output when the container is made, or was not.
#[derive(Debug, Serialize, Deserialize)]
pub struct Announcement {
    /// Host pid of the container's init.
    #[serde(default)]
    pub pid: Option<i32>,
    /// Why there is none.
    #[serde(default)]
    pub error: Option<String>,
    /// Whether that is because the program cannot be run.
    #[serde(default)]
    pub start_failed: bool,
}
