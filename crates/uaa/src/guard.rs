//! Bounds on password checking.
//!
//! One check costs about 19 MiB and tens of milliseconds on purpose. So only a few run at once, a few more wait, and
//! the rest is told to come back. A name that failed five times within the hour is locked for 5 s; each further
//! failure doubles that up to a minute, which leaves a guesser about as many tries a day as UAA's default of five
//! per five minutes. Names are counted whether or not they exist, so the answer does not tell. Counts are in memory:
//! a restart forgets them, and each control node counts for itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use auth::{Secret, hash_password, verify_password};
use base::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::UaaError;

/// Checks at once; each takes a core.
const AT_ONCE: usize = 3;
/// Checks waiting for their turn.
const WAITING: usize = 64;
/// Longest wait for a turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// Failures before the first lock.
const ALLOWED: u32 = 5;
/// First lock; doubles with each further failure.
const FIRST_LOCK: Duration = Duration::from_secs(5);
/// Longest lock.
const LONGEST_LOCK: Duration = Duration::from_secs(60);
/// A name without failures for this long starts anew.
const MEMORY: Duration = Duration::from_secs(3600);
/// Names remembered; beyond, the one that failed longest ago is forgotten.
const NAMES: usize = 10_000;

/// Checks and hashes passwords off the async threads.
pub(crate) struct Guard {
    clock: Arc<dyn Clock>,
    queue: Arc<Semaphore>,
    work: Arc<Semaphore>,
    book: Mutex<HashMap<String, Failures>>,
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: SystemTime,
}

struct Turn {
    _queued: OwnedSemaphorePermit,
    _working: OwnedSemaphorePermit,
}

impl Guard {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            queue: Arc::new(Semaphore::new(WAITING)),
            work: Arc::new(Semaphore::new(AT_ONCE)),
            book: Mutex::default(),
        }
    }

    /// Whether `password` is the one behind `stored`, for the login name `who`; counts failures.
    ///
    /// # Errors
    /// 401 with the reason while the name is locked, 503 when too many checks wait.
    pub(crate) async fn attempt(
        self: &Arc<Self>,
        who: String,
        password: Secret,
        stored: Option<String>,
    ) -> Result<bool, UaaError> {
        let turn = self.turn().await?;
        // Looked at after the turn came: guesses sent in parallel meet the lock of those before them.
        if let Some(left) = self.locked(&who) {
            return Err(locked(left));
        }
        let guard = self.clone();
        run(turn, move || {
            let matches = verify_password(password.expose(), stored.as_deref());
            guard.record(who, matches);
            matches
        })
        .await
    }

    /// Whether `secret` is the one behind `stored`, without counting: for clients, whose secrets nobody guesses.
    pub(crate) async fn verify(&self, secret: Secret, stored: Option<String>) -> Result<bool, UaaError> {
        let turn = self.turn().await?;
        run(turn, move || verify_password(secret.expose(), stored.as_deref())).await
    }

    /// The hash to store for a password.
    pub(crate) async fn hash(&self, password: Secret) -> Result<String, UaaError> {
        let turn = self.turn().await?;
        let hashed = run(turn, move || hash_password(password.expose())).await?;
        hashed.map_err(|error| UaaError::invalid_password(error.to_string()))
    }

    async fn turn(&self) -> Result<Turn, UaaError> {
        let queued = self.queue.clone().try_acquire_owned();
        let queued = queued.map_err(|_| UaaError::busy())?;
        let working = tokio::time::timeout(PATIENCE, self.work.clone().acquire_owned()).await;
        match working {
            Ok(Ok(working)) => Ok(Turn {
                _queued: queued,
                _working: working,
            }),
            Ok(Err(_)) | Err(_) => Err(UaaError::busy()),
        }
    }

    /// How long the name stays locked; `None` when it is not.
    fn locked(&self, who: &str) -> Option<Duration> {
        let book = self.book.lock().expect("no holder of this lock panics");
        let failures = book.get(who)?;
        // A clock set back makes the last failure lie ahead; then the whole lock counts again, not more.
        let since = self.clock.now().duration_since(failures.last).unwrap_or_default();
        failures.lock().checked_sub(since).filter(|left| !left.is_zero())
    }

    fn record(&self, who: String, success: bool) {
        let now = self.clock.now();
        let mut book = self.book.lock().expect("no holder of this lock panics");
        if success {
            book.remove(&who);
            return;
        }
        if book.len() >= NAMES && !book.contains_key(&who) {
            let oldest = book
                .iter()
                .min_by_key(|(_, f)| f.last)
                .map(|(name, _)| name.clone());
            oldest.and_then(|name| book.remove(&name));
        }
        let failures = book.entry(who).or_insert(Failures { count: 0, last: now });
        if now
            .duration_since(failures.last)
            .is_ok_and(|since| since > MEMORY)
        {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
    }
}

impl Failures {
    fn lock(self) -> Duration {
        match self.count.checked_sub(ALLOWED) {
            None => Duration::ZERO,
            Some(beyond) => FIRST_LOCK.saturating_mul(1 << beyond.min(10)).min(LONGEST_LOCK),
        }
    }
}

fn locked(left: Duration) -> UaaError {
    let secs = left.as_secs_f64().ceil();
    UaaError::unauthorized(format!(
        "Your account has been locked because of too many failed attempts to login. Try again in {secs} s"
    ))
}

/// The turn moves into the work: a caller who hangs up frees nothing before the work is done.
async fn run<T: Send + 'static>(
    turn: Turn,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, UaaError> {
    let worker = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(turn);
        done
    });
    worker.await.map_err(|error| UaaError::internal(&error))
}

#[cfg(test)]
mod tests {
    use base::ManualClock;

    use super::*;

    fn guard() -> (Guard, ManualClock) {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        (Guard::new(Arc::new(clock.clone())), clock)
    }

    fn fail(guard: &Guard, times: u32) {
        (0..times).for_each(|_| guard.record("uaa/a".into(), false));
    }

    #[test]
    fn locks_begin_at_five_failures_and_grow_to_a_minute() {
        let (guard, clock) = guard();
        fail(&guard, 4);
        assert_eq!(guard.locked("uaa/a"), None);
        for secs in [5, 10, 20, 40, 60, 60] {
            fail(&guard, 1);
            let lock = Duration::from_secs(secs);
            assert_eq!(guard.locked("uaa/a"), Some(lock));
            clock.advance(lock - Duration::from_millis(1));
            assert!(guard.locked("uaa/a").is_some());
            clock.advance(Duration::from_millis(1));
            assert_eq!(guard.locked("uaa/a"), None);
        }
        assert_eq!(guard.locked("uaa/b"), None);
    }

    #[test]
    fn success_and_time_make_it_forget() {
        let (guard, clock) = guard();
        fail(&guard, 4);
        guard.record("uaa/a".into(), true);
        fail(&guard, 4);
        assert_eq!(guard.locked("uaa/a"), None);
        clock.advance(MEMORY + Duration::from_secs(1));
        fail(&guard, 1);
        assert_eq!(guard.locked("uaa/a"), None);
    }

    #[test]
    fn the_book_is_bounded() {
        let (guard, clock) = guard();
        for n in 0..NAMES {
            guard.record(format!("uaa/{n}"), false);
        }
        clock.advance(Duration::from_secs(1));
        fail(&guard, 5);
        assert_eq!(guard.book.lock().unwrap().len(), NAMES);
        assert!(guard.locked("uaa/a").is_some());
    }

    #[tokio::test]
    async fn too_many_waiting_checks_are_refused() {
        let (guard, _) = guard();
        let all = u32::try_from(WAITING).unwrap();
        let _held = guard.queue.clone().acquire_many_owned(all).await.unwrap();
        assert!(guard.verify(Secret::new("x"), None).await.is_err());
    }
}
