//! How fast to ask again: 200 ms doubling to 1 s, until a deadline. Every waiting loop of the crate uses it, so none
//! is endless.

use std::time::Duration;

use base::Backoff;
use tokio::time::Instant;

/// The rhythm of one waiting loop.
#[derive(Debug)]
pub struct Pace {
    backoff: Backoff,
    deadline: Instant,
}

impl Pace {
    /// A loop that may take `limit`.
    pub fn within(limit: Duration) -> Self {
        let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(1));
        // A limit beyond what the clock can express is as good as a month.
        let month = Duration::from_secs(30 * 24 * 3600);
        Self {
            backoff,
            deadline: Instant::now() + limit.min(month),
        }
    }

    /// Sleeps until the next look, or says `false` when the time is used up.
    pub async fn pause(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.deadline {
            return false;
        }
        tokio::time::sleep(self.backoff.next_pause().min(self.deadline - now)).await;
        true
    }
}
