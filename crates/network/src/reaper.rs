//! Removing links behind the caller's back: the kernel waits some 30 ms for each, or for a whole batch.
//!
//! A doomed container keeps its lease until its link is gone, so that its address cannot be given to
//! another one before.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Error;
use crate::error::During;
use crate::leases::Leases;
use crate::links::Links;
use crate::names::Names;

/// Bounds one batch, and with it the time the kernel's link lock is held.
const BATCH: usize = 64;
/// After a failure, how long to leave the kernel alone.
const RETRY: Duration = Duration::from_secs(1);

/// Leases, and which of them are on the way out.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) leases: Leases,
    doomed: BTreeSet<String>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Stopping,
}

/// The book and the bell that rings when it changed.
#[derive(Debug)]
pub(crate) struct Ledger {
    book: Mutex<Book>,
    changed: Condvar,
}

impl Ledger {
    pub(crate) fn new(leases: Leases) -> Self {
        let book = Book {
            leases,
            doomed: BTreeSet::new(),
            phase: Phase::Running,
        };
        Self {
            book: Mutex::new(book),
            changed: Condvar::new(),
        }
    }

    /// The book; a panic elsewhere leaves it usable, since each change of it is a single step.
    pub(crate) fn open(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the link and lease of `id` to the reaper.
    pub(crate) fn doom(&self, id: &str) {
        self.open().doomed.insert(id.to_owned());
        self.changed.notify_all();
    }

    /// Waits until `done` says so about the book, at most `patience`; whether it did.
    pub(crate) fn wait(&self, patience: Duration, done: impl Fn(&Book) -> bool) -> bool {
        let (_book, timeout) = self
            .changed
            .wait_timeout_while(self.open(), patience, |book| !done(book))
            .unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }

    /// Lets the reaper finish what is doomed and end.
    pub(crate) fn stop(&self) {
        self.open().phase = Phase::Stopping;
        self.changed.notify_all();
    }
}

impl Book {
    /// Whether `id` is on the way out.
    pub(crate) fn is_doomed(&self, id: &str) -> bool {
        self.doomed.contains(id)
    }

    /// Whether nothing is on the way out.
    pub(crate) fn is_settled(&self) -> bool {
        self.doomed.is_empty()
    }
}

/// Removes doomed links until stopped. Owns its sockets, so that nobody waits for it.
#[derive(Debug)]
pub(crate) struct Reaper {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) links: Links,
    pub(crate) names: Names,
    pub(crate) bridge: u32,
}

impl Reaper {
    /// Runs until [`Ledger::stop`]; what is doomed by then is tried once more.
    pub(crate) fn run(mut self) {
        loop {
            let (batch, phase) = self.next_batch();
            if batch.is_empty() {
                return;
            }
            match self.reap(&batch) {
                Ok(()) => self.ledger.changed.notify_all(),
                Err(error) => {
                    tracing::warn!(error = %base::Report(&error), "cannot remove container links yet");
                    if phase == Phase::Stopping {
                        return;
                    }
                    self.pause();
                }
            }
        }
    }

    fn next_batch(&self) -> (Vec<String>, Phase) {
        let idle = |book: &mut Book| book.doomed.is_empty() && book.phase == Phase::Running;
        let book = self
            .ledger
            .changed
            .wait_while(self.ledger.open(), idle)
            .unwrap_or_else(PoisonError::into_inner);
        (book.doomed.iter().take(BATCH).cloned().collect(), book.phase)
    }

    fn reap(&mut self, batch: &[String]) -> Result<(), Error> {
        let ports: Vec<String> = batch.iter().map(|id| self.names.port(id)).collect();
        self.links
            .delete_together(&ports, self.names.doomed_group)
            .during(format!("remove {} container links", ports.len()))?;
        for id in batch {
            let address = self.ledger.open().leases.get(id);
            if let Some(address) = address {
                self.links
                    .forget_neighbour(self.bridge, address)
                    .during("remove a neighbour entry")?;
            }
            let mut book = self.ledger.open();
            book.leases.release(id)?;
            book.doomed.remove(id);
        }
        Ok(())
    }

    fn pause(&self) {
        let until = Instant::now() + RETRY;
        let mut book = self.ledger.open();
        while book.phase == Phase::Running {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            book = self
                .ledger
                .changed
                .wait_timeout(book, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}
