//! The limit on an app's output.
//!
//! Rule: cloudfoundry/executor:depot/log_streamer. A bucket holds one second's worth of bytes. The line that does not
//! fit is dropped with one notice, and so is everything for one second after it.

use std::time::Duration;

use tokio::time::Instant;

/// How long everything is dropped after the bucket ran over.
const MUTED: Duration = Duration::from_secs(1);

/// The limit of one instance.
#[derive(Debug)]
pub(crate) struct Bucket {
    limit: Limit,
    tokens: u64,
    filled: Instant,
    muted_until: Option<Instant>,
    dropped: u64,
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    None,
    Rate(u64),
}

/// What to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Pass it on.
    Pass,
    /// Pass it on, and say that this many lines before it were dropped.
    PassAfter(u64),
    /// Drop it and say so.
    DropAndTell,
    /// Drop it.
    Drop,
}

impl Bucket {
    /// `bytes_per_second` below 0 is no limit, 0 is no output at all.
    pub(crate) fn new(bytes_per_second: i64, now: Instant) -> Self {
        let limit = u64::try_from(bytes_per_second).map_or(Limit::None, Limit::Rate);
        let tokens = match limit {
            Limit::None => 0,
            Limit::Rate(rate) => rate,
        };
        Self {
            limit,
            tokens,
            filled: now,
            muted_until: None,
            dropped: 0,
        }
    }

    /// Judges a line of `bytes` bytes.
    pub(crate) fn take(&mut self, bytes: usize, now: Instant) -> Verdict {
        let rate = match self.limit {
            Limit::None => return Verdict::Pass,
            Limit::Rate(0) => return Verdict::Drop,
            Limit::Rate(rate) => rate,
        };
        if self.muted_until.is_some_and(|until| now < until) {
            self.dropped += 1;
            return Verdict::Drop;
        }
        self.muted_until = None;
        self.fill(rate, now);
        match self.tokens.checked_sub(bytes as u64) {
            Some(left) => {
                self.tokens = left;
                match std::mem::take(&mut self.dropped) {
                    0 => Verdict::Pass,
                    dropped => Verdict::PassAfter(dropped),
                }
            }
            None => {
                self.dropped += 1;
                self.muted_until = Some(now + MUTED);
                Verdict::DropAndTell
            }
        }
    }

    fn fill(&mut self, rate: u64, now: Instant) {
        let passed = now
            .saturating_duration_since(self.filled)
            .min(Duration::from_secs(1));
        let grown = u128::from(rate) * passed.as_nanos() / 1_000_000_000;
        // Less than a byte's time is kept for later.
        if grown > 0 {
            let grown = u64::try_from(grown).unwrap_or(u64::MAX);
            self.tokens = self.tokens.saturating_add(grown).min(rate);
            self.filled = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overrun_is_told_once_and_mutes_for_a_second() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut bucket = Bucket::new(100, start);
        for (millis, bytes, expected) in [
            (0, 60, Verdict::Pass),
            (0, 60, Verdict::DropAndTell),
            (500, 1, Verdict::Drop),
            (999, 1, Verdict::Drop),
            (1000, 100, Verdict::PassAfter(3)),
            (1001, 1, Verdict::DropAndTell),
            (3000, 101, Verdict::DropAndTell),
            (4100, 50, Verdict::PassAfter(2)),
            (4600, 90, Verdict::Pass),
        ] {
            assert_eq!(bucket.take(bytes, at(millis)), expected, "at {millis} ms");
        }
    }

    #[test]
    fn no_limit_and_no_output() {
        let now = Instant::now();
        assert_eq!(Bucket::new(-1, now).take(usize::MAX, now), Verdict::Pass);
        assert_eq!(Bucket::new(0, now).take(1, now), Verdict::Drop);
    }

    #[test]
    fn a_slow_trickle_still_fills_the_bucket() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, start);
        assert_eq!(bucket.take(10, start), Verdict::Pass);
        for millis in (1..=100).map(|n| n * 10) {
            bucket.fill(10, start + Duration::from_millis(millis));
        }
        assert_eq!(bucket.tokens, 10);
    }
}
