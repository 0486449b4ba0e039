//! The statuses of all instances, and who watches them.
//!
//! A change is entered and told in one step under one lock, and a watcher's snapshot is taken with its subscription
//! in one step too: so nobody sees a change twice, out of order, or not at all.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::broadcast;
use wire::v1::{CellEvent, InstanceStatus, Synced, cell_event::Event};

/// Changes a slow watcher may be behind before it gets everything anew.
const BACKLOG: usize = 4096;

/// The board.
#[derive(Debug)]
pub(crate) struct Board {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    statuses: BTreeMap<String, InstanceStatus>,
    changes: broadcast::Sender<InstanceStatus>,
}

/// A watcher's events: whatever must be told next.
#[derive(Debug)]
pub(crate) struct Watcher {
    pending: std::vec::IntoIter<CellEvent>,
    changes: broadcast::Receiver<InstanceStatus>,
}

impl Board {
    pub(crate) fn new() -> Self {
        let (changes, _) = broadcast::channel(BACKLOG);
        let statuses = BTreeMap::new();
        Self {
            inner: Mutex::new(Inner { statuses, changes }),
        }
    }

    /// Enters and tells a status.
    pub(crate) fn publish(&self, status: InstanceStatus) {
        let mut inner = self.lock();
        inner
            .statuses
            .insert(status.instance_guid.clone(), status.clone());
        // Nobody watching is fine.
        let _ = inner.changes.send(status);
    }

    /// Takes an instance off the board, silently: whoever asked for it knows.
    pub(crate) fn remove(&self, guid: &str) {
        self.lock().statuses.remove(guid);
    }

    /// Starts to watch.
    pub(crate) fn watch(&self) -> Watcher {
        let inner = self.lock();
        Watcher {
            changes: inner.changes.subscribe(),
            pending: snapshot(&inner.statuses),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }
}

fn snapshot(statuses: &BTreeMap<String, InstanceStatus>) -> std::vec::IntoIter<CellEvent> {
    let held = statuses.values().cloned().map(|status| CellEvent {
        event: Some(Event::Instance(status)),
    });
    let synced = CellEvent {
        event: Some(Event::Synced(Synced {})),
    };
    held.chain([synced]).collect::<Vec<_>>().into_iter()
}

impl Watcher {
    /// The next event; `None` when the board is gone. Cancel-safe.
    pub(crate) async fn next(&mut self, board: &Board) -> Option<CellEvent> {
        loop {
            if let Some(event) = self.pending.next() {
                return Some(event);
            }
            match self.changes.recv().await {
                Ok(status) => {
                    return Some(CellEvent {
                        event: Some(Event::Instance(status)),
                    });
                }
                Err(broadcast::error::RecvError::Lagged(_)) => *self = board.watch(),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(guid: &str, since_ns: i64) -> InstanceStatus {
        InstanceStatus {
            instance_guid: guid.to_owned(),
            since_ns,
            ..InstanceStatus::default()
        }
    }

    async fn next(watcher: &mut Watcher, board: &Board) -> Option<(String, i64)> {
        match watcher.next(board).await.and_then(|event| event.event) {
            Some(Event::Instance(status)) => Some((status.instance_guid, status.since_ns)),
            _ => None,
        }
    }

    #[tokio::test]
    async fn a_watcher_sees_what_is_held_then_each_change() {
        let board = Board::new();
        board.publish(status("b", 1));
        board.publish(status("a", 1));
        board.publish(status("gone", 1));
        board.remove("gone");
        let mut watcher = board.watch();
        board.publish(status("a", 2));
        assert_eq!(next(&mut watcher, &board).await, Some(("a".to_owned(), 1)));
        assert_eq!(next(&mut watcher, &board).await, Some(("b".to_owned(), 1)));
        assert_eq!(next(&mut watcher, &board).await, None, "synced");
        assert_eq!(next(&mut watcher, &board).await, Some(("a".to_owned(), 2)));
    }

    #[tokio::test]
    async fn a_watcher_that_fell_behind_starts_over() {
        let board = Board::new();
        let mut watcher = board.watch();
        assert_eq!(next(&mut watcher, &board).await, None, "synced");
        let last = i64::try_from(BACKLOG).unwrap() + 10;
        for since in 0..=last {
            board.publish(status("a", since));
        }
        assert_eq!(next(&mut watcher, &board).await, Some(("a".to_owned(), last)));
        assert_eq!(next(&mut watcher, &board).await, None, "synced");
    }
}
