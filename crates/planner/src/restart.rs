//! When a crashed instance starts again.
//!
//! The reference's policy (cloudfoundry/bbs:models/restart_calculator.go): any end that was not asked for is a
//! crash, exit status 0 included. The first two restarts are immediate; from the third crash on the wait doubles
//! from 30 s to 16 min; after 200 crashes it is not started again. Running for more than 5 min starts the count
//! over. The loss of a cell is not a crash.

use std::time::Duration;

const IMMEDIATE_BELOW: u32 = 3;
const GIVE_UP_AT: u32 = 200;
const BASE: Duration = Duration::from_secs(30);
const MAX_DOUBLINGS: u32 = 5;
const FORGIVEN_AFTER: Duration = Duration::from_secs(5 * 60);

/// Pause before an instance the *platform* could not start (image not reachable, cell out of order) is tried
/// again. It is no crash of the app, so the count does not grow; without a pause the fault would be hammered.
pub const PLATFORM_FAULT_DELAY: Duration = Duration::from_secs(10);

/// What follows from a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartDecision {
    /// Start it at once.
    Now,
    /// Start it at this time, nanoseconds since 1970.
    At(i64),
    /// Leave it until somebody restarts the app.
    Never,
}

/// A crash, judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The new crash count.
    pub count: u32,
    /// What follows.
    pub decision: RestartDecision,
}

/// Judges a crash at `now_ns` of an instance that had crashed `previous` times before and had been healthy for
/// `ran_for`; zero if it never was.
pub fn on_crash(previous: u32, ran_for: Duration, now_ns: i64) -> Crash {
    let count = if ran_for > FORGIVEN_AFTER {
        1
    } else {
        previous.saturating_add(1)
    };
    Crash {
        count,
        decision: decide(count, now_ns),
    }
}

/// What follows from the `count`th crash, which happened at `crashed_at_ns`.
pub fn decide(count: u32, crashed_at_ns: i64) -> RestartDecision {
    match count {
        ..IMMEDIATE_BELOW => RestartDecision::Now,
        GIVE_UP_AT.. => RestartDecision::Never,
        _ => {
            let wait = BASE * 2u32.pow((count - IMMEDIATE_BELOW).min(MAX_DOUBLINGS));
            RestartDecision::At(after(crashed_at_ns, wait))
        }
    }
}

/// `span` after `time_ns`, never wrapping.
pub(crate) fn after(time_ns: i64, span: Duration) -> i64 {
    time_ns.saturating_add(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: i64 = 1_000_000_000;

    #[test]
    fn the_wait_grows_as_in_the_reference() {
        let table = [
            (0, RestartDecision::Now),
            (1, RestartDecision::Now),
            (2, RestartDecision::Now),
            (3, RestartDecision::At(30 * SEC)),
            (4, RestartDecision::At(60 * SEC)),
            (5, RestartDecision::At(120 * SEC)),
            (6, RestartDecision::At(240 * SEC)),
            (7, RestartDecision::At(480 * SEC)),
            (8, RestartDecision::At(960 * SEC)),
            (9, RestartDecision::At(960 * SEC)),
            (199, RestartDecision::At(960 * SEC)),
            (200, RestartDecision::Never),
            (u32::MAX, RestartDecision::Never),
        ];
        for (count, decision) in table {
            assert_eq!(decide(count, 0), decision, "crash {count}");
        }
        assert_eq!(decide(3, i64::MAX), RestartDecision::At(i64::MAX));
    }

    #[test]
    fn more_than_five_minutes_up_start_the_count_over() {
        let minutes = |m: u64| Duration::from_secs(60 * m);
        for (previous, ran_for, count) in [
            (0, Duration::ZERO, 1),
            (7, Duration::ZERO, 8),
            (7, minutes(5), 8),
            (7, minutes(5) + Duration::from_nanos(1), 1),
            (u32::MAX, Duration::ZERO, u32::MAX),
        ] {
            assert_eq!(
                on_crash(previous, ran_for, 0).count,
                count,
                "{previous} {ran_for:?}"
            );
        }
    }
}
