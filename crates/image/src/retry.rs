//! Which faults are tried again, when, and how often.
//!
//! Policy: faults that may pass (no connection, no answer in time, 408, 429, 5xx, a body cut short) are tried again at
//! most `max_retries` times, with doubling pauses, or after the pause the registry demands. A demand longer than
//! `longest_pause` is reported at once. Faults that will not pass (refusals, bad certificates, bad bytes) are never
//! tried again.

use std::time::{Duration, SystemTime};

use base::{Backoff, Clock, SystemClock};
use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::error::ResolveError;
use crate::settings::Timeouts;

/// A failed try.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// Boxed: it rides in every result of a request.
    pub(crate) error: Box<ResolveError>,
    pub(crate) retry: Retry,
}

/// Whether to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It would fail the same way.
    Never,
    /// After the usual pause.
    Soon,
    /// Not before this pause, which the registry asked for.
    After(Duration),
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        Self::new(error, Retry::Never)
    }
}

impl Failure {
    pub(crate) fn new(error: ResolveError, retry: Retry) -> Self {
        Self {
            error: Box::new(error),
            retry,
        }
    }

    /// A fault that may pass.
    pub(crate) fn passing(error: ResolveError) -> Self {
        Self::new(error, Retry::Soon)
    }
}

/// The tries one request has left.
pub(crate) struct Retries {
    max: u32,
    left: u32,
    longest: Duration,
    backoff: Backoff,
}

impl Retries {
    pub(crate) fn new(max: u32, timeouts: &Timeouts) -> Self {
        let backoff = Backoff::new(timeouts.first_pause, timeouts.longest_pause);
        Self {
            max,
            left: max,
            longest: timeouts.longest_pause,
            backoff,
        }
    }

    /// Pauses before the next try, or gives the error back when there is none.
    pub(crate) async fn pause(&mut self, failure: Failure) -> Result<(), ResolveError> {
        let asked = match failure.retry {
            Retry::Never => return Err(*failure.error),
            Retry::Soon => Duration::ZERO,
            Retry::After(asked) => asked,
        };
        if self.left == 0 || asked > self.longest {
            return Err(*failure.error);
        }
        self.left -= 1;
        let pause = self.backoff.next_pause().max(asked);
        tracing::debug!(?pause, left = self.left, error = %failure.error, "registry request is tried again");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// All tries are left again: the last one got somewhere.
    pub(crate) fn reset(&mut self) {
        self.left = self.max;
        self.backoff.reset();
    }
}

/// `Retry-After` as a duration, from seconds or a date (RFC 9110, 10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    parse_retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, SystemClock.now())
}

fn parse_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    let at: SystemTime = parser.parse_timestamp(text.trim()).ok()?.into();
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 60);
        for (text, want) in [
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(60)),
            ("Sat, 05 Nov 1994 08:49:37 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
        ] {
            assert_eq!(
                parse_retry_after(text, now),
                want.map(Duration::from_secs),
                "{text}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tries_are_counted_and_a_long_demand_is_not_waited_for() {
        let error = ResolveError::NotFound { what: "x".to_owned() };
        let mut retries = Retries::new(2, &Timeouts::default());
        assert!(retries.pause(Failure::from(error.clone())).await.is_err());
        let before = tokio::time::Instant::now();
        let asked = Retry::After(Duration::from_secs(7));
        assert!(retries.pause(Failure::new(error.clone(), asked)).await.is_ok());
        assert!(before.elapsed() >= Duration::from_secs(7));
        let asked = Retry::After(Duration::from_secs(3600));
        assert!(retries.pause(Failure::new(error.clone(), asked)).await.is_err());
        assert!(retries.pause(Failure::passing(error.clone())).await.is_ok());
        assert!(retries.pause(Failure::passing(error.clone())).await.is_err());
        retries.reset();
        assert!(retries.pause(Failure::passing(error)).await.is_ok());
    }
}
