//! All sources together, within a bound of memory.
//!
//! Policy of eviction: a source never holds more than its share of lines, and when all together outgrow the bound, the
//! largest source gives up its oldest lines (among equals the one quiet for longest). So a noisy app costs itself, not
//! its neighbours.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use base::{Clock, unix_nanos};
use tokio::sync::Notify;
use tracing::warn;
use wire::v1::{Envelope, EnvelopeBatch};

use crate::entry::{Entry, split};
use crate::ring::{Ring, SourceMeta};

/// Bounds of a store.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Most lines held for one source.
    pub per_source_envelopes: usize,
    /// Most memory for all lines, in bytes as accounted (allocator overhead comes on top).
    pub total_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            per_source_envelopes: 100_000,
            total_bytes: 64 << 20,
        }
    }
}

/// Which end of a range comes first, and is kept when there are more lines than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// What to read of a source.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// First instant, inclusive; nanoseconds since 1970, may lie before it.
    pub start_ns: i64,
    /// End, exclusive; `None` for everything up to now and beyond.
    pub end_ns: Option<i64>,
    /// Most lines returned.
    pub limit: usize,
    /// Order of the result.
    pub order: Order,
}

/// Waiters are told by source through one of these, so that a busy app does not wake everybody who tails a quiet one.
const BELLS: usize = 64;

/// Accounted to each source beside its lines.
const SOURCE_BYTES: usize = 256;

/// The envelopes of all sources. Shared by an `Arc`.
pub struct Store {
    settings: Settings,
    clock: Arc<dyn Clock>,
    sources: Mutex<Sources>,
    bells: Vec<Notify>,
    hasher: RandomState,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Sources {
    rings: HashMap<String, Ring>,
    bytes: usize,
}

impl Store {
    /// An empty store.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        Self {
            settings,
            clock,
            sources: Mutex::default(),
            bells: (0..BELLS).map(|_| Notify::new()).collect(),
            hasher: RandomState::new(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Appends one envelope. An envelope without a time or from the future gets the time of arrival: one bad clock
    /// must not push all later lines of a source out of the reach of its readers. One without a source is ignored.
    pub fn append(&self, envelope: Envelope) {
        self.append_batch(EnvelopeBatch {
            envelopes: vec![envelope],
            dropped: 0,
        });
    }

    /// Appends envelopes in their order and counts what the sender says it lost. The sender also tells the readers,
    /// with a line per source (see `wire::LogSink`), as only it knows whose lines they were.
    pub fn append_batch(&self, batch: EnvelopeBatch) {
        if batch.dropped > 0 {
            warn!(
                lines = batch.dropped,
                "a sender lost log lines because its queue to the log store was full"
            );
            self.dropped.fetch_add(batch.dropped, Ordering::Relaxed);
        }
        let now = unix_nanos(self.clock.now());
        let mut touched = [false; BELLS];
        let mut sources = self.lock();
        for envelope in batch.envelopes.into_iter().filter(|e| !e.source_id.is_empty()) {
            touched[self.bell(&envelope.source_id)] = true;
            sources.append(envelope, now, &self.settings);
        }
        drop(sources);
        for (bell, _) in self.bells.iter().zip(touched).filter(|(_, touched)| *touched) {
            bell.notify_waiters();
        }
    }

    /// Lines of `source_id` in `range`; none for an unknown source.
    pub fn read(&self, source_id: &str, range: &Range) -> Vec<Entry> {
        self.lock()
            .rings
            .get(source_id)
            .map(|ring| ring.read(range))
            .unwrap_or_default()
    }

    /// Like [`Store::read`], but waits up to `patience` for a line when there is none yet.
    pub async fn read_or_wait(
        &self,
        source_id: &str,
        range: &Range,
        patience: std::time::Duration,
    ) -> Vec<Entry> {
        let deadline = tokio::time::Instant::now() + patience;
        let bell = &self.bells[self.bell(source_id)];
        loop {
            let rung = bell.notified();
            tokio::pin!(rung);
            // Enabled before the look, so that a line between look and wait is not missed.
            rung.as_mut().enable();
            let lines = self.read(source_id, range);
            if !lines.is_empty() || tokio::time::timeout_at(deadline, rung).await.is_err() {
                return lines;
            }
        }
    }

    /// Every source that has lines, sorted by id.
    pub fn meta(&self) -> Vec<(String, SourceMeta)> {
        let sources = self.lock();
        let mut all: Vec<_> = sources
            .rings
            .iter()
            .filter_map(|(id, ring)| Some((id.clone(), ring.meta()?)))
            .collect();
        drop(sources);
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Accounted memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Envelopes that senders reported as lost since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn bell(&self, source_id: &str) -> usize {
        (self.hasher.hash_one(source_id) % BELLS as u64) as usize
    }

    fn lock(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().expect("no holder of this lock panics")
    }
}

impl Sources {
    fn append(&mut self, envelope: Envelope, now_ns: i64, settings: &Settings) {
        let time = if (1..=now_ns).contains(&envelope.timestamp_ns) {
            envelope.timestamp_ns
        } else {
            now_ns
        };
        let ring = match self.rings.get_mut(&envelope.source_id) {
            Some(ring) => ring,
            None => {
                self.bytes += SOURCE_BYTES + envelope.source_id.len();
                self.rings.entry(envelope.source_id.clone()).or_default()
            }
        };
        let before = ring.bytes();
        let (origin, payload, output) = split(envelope);
        ring.push(time, origin, payload, output);
        while ring.len() > settings.per_source_envelopes.max(1) {
            ring.evict_one();
        }
        self.bytes = self.bytes - before + ring.bytes();
        if self.bytes > settings.total_bytes {
            self.evict(settings.total_bytes);
        }
    }

    /// Frees a little more than needed, so that the search for the largest source is paid for by many lines.
    fn evict(&mut self, bound: usize) {
        let goal = bound - bound / 64;
        while self.bytes > goal {
            let largest = self
                .rings
                .iter_mut()
                .max_by_key(|(_, ring)| (ring.bytes(), Reverse(ring.last_ns())));
            let Some((id, ring)) = largest else { return };
            let before = ring.bytes();
            let excess = (self.bytes - goal).min(before / 2);
            while ring.evict_one() && before - ring.bytes() < excess {}
            self.bytes = self.bytes - before + ring.bytes();
            if ring.len() == 0 {
                let id = id.clone();
                self.rings.remove(&id);
                self.bytes -= SOURCE_BYTES + id.len();
            }
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
