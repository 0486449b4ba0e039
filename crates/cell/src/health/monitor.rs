//! When to ask, and what follows from the answers.
//!
//! Starting: the reference asks every 2 s. Here the first two seconds are asked in quickly growing steps, so that an
//! app that is up in 30 ms is known to be up in about 50. Alive: every 30 s, one failure ends the instance. Ready:
//! as starting until it passes, then every 30 s.

use std::time::Duration;

use model::HealthCheck;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::check::Check;
use crate::phase::Readiness;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_STEP: Duration = Duration::from_millis(250);
/// How long is asked quickly.
const IMPATIENT: Duration = Duration::from_secs(2);

/// Time an instance has to become healthy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget(pub(crate) Duration);

/// An instance that never became healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Never {
    /// How often it was asked.
    pub(crate) attempts: u32,
    /// The last answer.
    pub(crate) last: String,
}

/// When an instance that was healthy is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// Nobody knows how it is.
    AtOnce,
    /// It was healthy a moment ago.
    AfterInterval,
}

/// The pauses between tries.
#[derive(Debug)]
struct Pace {
    start: Instant,
    step: Duration,
}

impl Pace {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            step: FIRST_PAUSE,
        }
    }

    fn next(&mut self) -> Duration {
        self.after(self.start.elapsed())
    }

    fn after(&mut self, elapsed: Duration) -> Duration {
        if elapsed >= IMPATIENT {
            return HealthCheck::STARTUP_INTERVAL;
        }
        let pause = self.step;
        self.step = (self.step * 2).min(LONGEST_STEP);
        pause
    }
}

/// Returns when the instance passes its check for the first time.
pub(crate) async fn until_healthy(check: &Check, Budget(budget): Budget) -> Result<(), Never> {
    let (mut attempts, mut last) = (0, "no answer to the first try".to_owned());
    let mut pace = Pace::new();
    let passes = async {
        loop {
            sleep(pace.next()).await;
            attempts += 1;
            match check.ask().await {
                Ok(()) => return,
                Err(error) => last = error,
            }
        }
    };
    if check.asks() && timeout(budget, passes).await.is_err() {
        return Err(Never { attempts, last });
    }
    Ok(())
}

/// Returns the check's answer when it fails for the first time; never for a check that asks nothing.
pub(crate) async fn until_unhealthy(check: &Check, first: First) -> String {
    if !check.asks() {
        std::future::pending::<()>().await;
    }
    if first == First::AfterInterval {
        sleep(check.interval()).await;
    }
    loop {
        if let Err(error) = check.ask().await {
            return error;
        }
        sleep(check.interval()).await;
    }
}

/// Why an instance is not ready any more, or that it is ready.
pub(crate) type Answer = Result<Readiness, String>;

/// Tells each change of readiness, for as long as it is polled.
pub(crate) async fn follow_readiness(check: &Check, changes: &watch::Sender<Answer>) {
    if !check.asks() {
        std::future::pending::<()>().await;
    }
    let mut pace = Pace::new();
    loop {
        let answer = check.ask().await;
        let pause = match &answer {
            Ok(()) => check.interval(),
            Err(_) => pace.next(),
        };
        changes.send_if_modified(|held| {
            let changed = held.is_ok() != answer.is_ok();
            *held = answer.map(|()| Readiness::Ready);
            changed
        });
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use wire::v1;

    /// Apart from other tests, which must not take a port that was closed here.
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 7, 1);

    fn check(port: u16) -> Check {
        let wanted = v1::HealthCheck {
            kind: "port".to_owned(),
            interval_ms: 20,
            ..v1::HealthCheck::default()
        };
        Check::new(Some(&wanted), &[u32::from(port)], ADDRESS)
    }

    #[test]
    fn tries_are_quick_first_and_then_as_the_reference() {
        let (mut pace, mut elapsed, mut pauses) = (Pace::new(), Duration::ZERO, Vec::new());
        while elapsed < Duration::from_secs(6) {
            let pause = pace.after(elapsed);
            elapsed += pause;
            pauses.push(pause.as_millis());
        }
        assert_eq!(pauses[..7], [10, 20, 40, 80, 160, 250, 250]);
        assert_eq!(pauses[pauses.len() - 2..], [2000, 2000]);
    }

    #[tokio::test]
    async fn a_check_that_never_passes_uses_up_its_budget() {
        let listener = std::net::TcpListener::bind((ADDRESS, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(
            until_healthy(&check(port), Budget(Duration::from_secs(5))).await,
            Ok(())
        );
        drop(listener);
        let never = until_healthy(&check(port), Budget(Duration::from_millis(100)))
            .await
            .unwrap_err();
        assert!(
            never.attempts >= 2 && never.last.ends_with("connection refused"),
            "{never:?}"
        );
        let text = until_unhealthy(&check(port), First::AfterInterval).await;
        assert!(text.ends_with("connection refused"), "{text}");
    }

    #[tokio::test]
    async fn readiness_is_told_when_it_changes() {
        let listener = std::net::TcpListener::bind((ADDRESS, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let check = check(port);
        let (sender, mut changes) = watch::channel(Err("not asked yet".to_owned()));
        let follow = follow_readiness(&check, &sender);
        let story = async {
            changes.changed().await.unwrap();
            assert_eq!(*changes.borrow_and_update(), Ok(Readiness::Ready));
            drop(listener);
            changes.changed().await.unwrap();
            assert!(changes.borrow_and_update().is_err());
        };
        tokio::select! { () = follow => {}, () = story => {} }
    }
}
