//! A container's output: written by its shim into segment files, read by the daemon, neither waiting for the other.
//!
//! Each line is a frame with a sequence number counted from 0 at the container's start. Two segments of 4 MiB are
//! kept; a reader that comes too late, or a full disk, shows as a gap in the numbers, never as a blocked program.

mod frame;
mod lines;
mod reader;
mod writer;

pub use frame::{LogLine, Stream};
pub use lines::LONGEST_LINE;
pub(crate) use lines::Lines;
pub use reader::{LogEvent, LogReader};
pub(crate) use writer::LogWriter;
