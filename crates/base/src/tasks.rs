//! Supervised tasks: every task has a name, is cancelled with its set, and its panic is seen.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info, info_span};

/// A set of tasks that live and end together. Cloning shares the set.
#[derive(Clone)]
pub struct Tasks {
    cancel: CancellationToken,
    set: Arc<Mutex<JoinSet<()>>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// An empty set with a cancellation token of its own.
    pub fn new() -> Self {
        Self::under(&CancellationToken::new())
    }

    /// An empty set that is cancelled when `parent` is.
    pub fn under(parent: &CancellationToken) -> Self {
        Self {
            cancel: parent.child_token(),
            set: Arc::new(Mutex::new(JoinSet::new())),
        }
    }

    /// The token that tells tasks of this set to end.
    pub fn token(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Starts a task. It is dropped at its next await once the set is cancelled; a task that must finish something
    /// first takes [`Tasks::token`] and is started with [`Tasks::spawn_graceful`].
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel.clone();
        self.spawn_graceful(name, async move {
            // Cancel-safe: dropping `task` is the documented way these tasks end.
            tokio::select! {
                () = cancel.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Starts a task that watches the token itself.
    pub fn spawn_graceful(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.set.lock().expect("no holder of this lock panics");
        while let Some(ended) = set.try_join_next() {
            report(ended);
        }
        set.spawn(task.instrument(info_span!("task", name)));
    }

    /// Cancels all tasks and waits for their end, at most `deadline`; what still runs then is aborted.
    pub async fn shutdown(&self, deadline: Duration) {
        self.cancel.cancel();
        let mut set = std::mem::take(&mut *self.set.lock().expect("no holder of this lock panics"));
        let drained = tokio::time::timeout(deadline, async {
            while let Some(ended) = set.join_next().await {
                report(ended);
            }
        });
        if drained.await.is_err() {
            // Usual where a peer keeps a connection open: its server task waits for it.
            info!(left = set.len(), "tasks did not end in time and were aborted");
            set.shutdown().await;
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a task panicked");
    }
}

/// Runs futures with at most `limit` at a time and collects their results in order of completion.
pub async fn bounded_join<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    limit: usize,
    work: impl IntoIterator<Item = F>,
) -> Vec<T> {
    let mut work = work.into_iter();
    let mut set = JoinSet::new();
    let mut done = Vec::new();
    for future in work.by_ref().take(limit.max(1)) {
        set.spawn(future);
    }
    while let Some(ended) = set.join_next().await {
        match ended {
            Ok(value) => done.push(value),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
        if let Some(future) = work.next() {
            set.spawn(future);
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test]
    async fn shutdown_ends_every_task() {
        let tasks = Tasks::new();
        let graceful = Arc::new(AtomicBool::new(false));
        tasks.spawn("endless", std::future::pending());
        let (token, seen) = (tasks.token(), graceful.clone());
        tasks.spawn_graceful("graceful", async move {
            token.cancelled().await;
            seen.store(true, Ordering::SeqCst);
        });
        tasks.shutdown(Duration::from_secs(5)).await;
        assert!(graceful.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn bounded_join_runs_all() {
        let mut got = bounded_join(2, (0..5).map(|i| async move { i })).await;
        got.sort_unstable();
        assert_eq!(got, [0, 1, 2, 3, 4]);
    }
}
