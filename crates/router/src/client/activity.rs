//! Whether anything happens on a client connection.
//!
//! A connection is in one of three states, and two of them may last only so long: a request is on its way (no limit
//! here), the head of one is being received (header time-out, however many single bytes arrive), or nothing is (idle
//! time-out). Requests only count; a slow tick compares counts, so the path of a request reads no clock for this.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

pub(crate) struct Activity {
    in_flight: AtomicUsize,
    /// Changes of state so far.
    changes: AtomicU64,
    /// Bytes of a head have come, but not all of it. Set from the start: a new connection owes us a head.
    head: AtomicBool,
    /// HTTP/2 sends frames of its own accord, so bytes say nothing there.
    heads: AtomicBool,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            in_flight: AtomicUsize::new(0),
            changes: AtomicU64::new(0),
            head: AtomicBool::new(true),
            heads: AtomicBool::new(true),
        }
    }

    pub(crate) fn without_heads(&self) {
        self.heads.store(false, Ordering::Relaxed);
        self.head.store(false, Ordering::Relaxed);
    }

    /// Bytes came from the client.
    pub(crate) fn received(&self) {
        if self.in_flight.load(Ordering::Relaxed) == 0
            && !self.head.load(Ordering::Relaxed)
            && self.heads.load(Ordering::Relaxed)
        {
            self.head.store(true, Ordering::Relaxed);
            self.changed();
        }
    }

    /// A request is on its way until the value returned is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.head.store(false, Ordering::Relaxed);
        self.changed();
        Busy(self.clone())
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends when the connection has been without a request for too long.
    pub(crate) async fn silent(self: &Arc<Self>, header: Duration, idle: Duration) {
        let tick = (header.min(idle) / 4).max(Duration::from_millis(10));
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + tick, tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.changes.load(Ordering::Relaxed);
        let mut quiet = Duration::ZERO;
        loop {
            ticks.tick().await;
            let now = self.changes.load(Ordering::Relaxed);
            let unchanged = std::mem::replace(&mut seen, now) == now;
            if self.in_flight.load(Ordering::Relaxed) > 0 || !unchanged {
                quiet = Duration::ZERO;
                continue;
            }
            quiet += tick;
            if quiet
                >= if self.head.load(Ordering::Relaxed) {
                    header
                } else {
                    idle
                }
            {
                return;
            }
        }
    }
}

/// A request on its way.
pub(crate) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.changed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const HEADER: Duration = Duration::from_millis(40);
    const IDLE: Duration = Duration::from_secs(1);

    async fn silent_after(activity: &Arc<Activity>) -> Duration {
        let start = Instant::now();
        tokio::time::timeout(Duration::from_secs(10), activity.silent(HEADER, IDLE))
            .await
            .unwrap();
        start.elapsed()
    }

    #[tokio::test]
    async fn a_head_has_less_time_than_an_idle_connection() {
        let activity = Arc::new(Activity::new());
        assert!(
            silent_after(&activity).await < IDLE,
            "a new connection owes a head"
        );
        drop(activity.begin());
        assert!(silent_after(&activity).await >= IDLE, "idle between requests");
        activity.received();
        assert!(silent_after(&activity).await < IDLE, "a head began");
    }

    #[tokio::test]
    async fn a_request_in_flight_has_no_limit_here() {
        let activity = Arc::new(Activity::new());
        let busy = activity.begin();
        activity.received();
        assert!(
            tokio::time::timeout(3 * HEADER, activity.silent(HEADER, HEADER))
                .await
                .is_err()
        );
        drop(busy);
        silent_after(&activity).await;
    }
}
