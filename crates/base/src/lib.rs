//! Tools every running part needs: the clock, back-off, supervised tasks, error chains, tracing.
//!
//! Knows nothing of the platform's nouns.

mod backoff;
mod clock;
mod report;
mod tasks;
mod trace;

pub use backoff::Backoff;
pub use clock::{Clock, ManualClock, SystemClock, unix_nanos};
pub use report::{Report, chain};
pub use tasks::{Tasks, bounded_join};
pub use tokio_util::sync::CancellationToken;
pub use trace::{LogFormat, init_tracing};
