//! The lines of one source, oldest first.
//!
//! Invariant: times strictly increase, because clients walk a source by asking for "last + 1"; a line that comes late
//! or at the same instant gets the next free nanosecond and is never skipped.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::entry::{Entry, Origin, Output};
use crate::store::{Order, Range};

/// What is known of a source without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceMeta {
    /// Lines held.
    pub count: usize,
    /// Lines that were evicted to make room.
    pub expired: u64,
    /// Time of the oldest line held, nanoseconds since 1970.
    pub oldest_ns: i64,
    /// Time of the newest line held, nanoseconds since 1970.
    pub newest_ns: i64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Ring {
    entries: VecDeque<Entry>,
    /// Every origin in use, with the number of its lines.
    origins: HashMap<Arc<Origin>, usize>,
    bytes: usize,
    expired: u64,
    last_ns: i64,
}

impl Ring {
    /// Appends a line at `timestamp_ns` or just after the newest, whichever is later.
    pub(crate) fn push(&mut self, timestamp_ns: i64, origin: Origin, payload: Arc<[u8]>, output: Output) {
        let timestamp_ns = timestamp_ns.max(self.last_ns.saturating_add(1));
        self.last_ns = timestamp_ns;
        let origin = self.intern(origin);
        let entry = Entry {
            timestamp_ns,
            origin,
            payload,
            output,
        };
        self.bytes += entry.cost();
        self.entries.push_back(entry);
    }

    fn intern(&mut self, origin: Origin) -> Arc<Origin> {
        let shared = match self.origins.get_key_value(&origin) {
            Some((known, _)) => known.clone(),
            None => {
                self.bytes += origin.cost();
                Arc::new(origin)
            }
        };
        *self.origins.entry(shared.clone()).or_insert(0) += 1;
        shared
    }

    /// Evicts the oldest line; `false` when there is none.
    pub(crate) fn evict_one(&mut self) -> bool {
        let Some(entry) = self.entries.pop_front() else {
            return false;
        };
        self.bytes -= entry.cost();
        self.expired += 1;
        if let Some(uses) = self.origins.get_mut(&entry.origin) {
            *uses -= 1;
            if *uses == 0 {
                self.origins.remove(&entry.origin);
                self.bytes -= entry.origin.cost();
            }
        }
        // A source that once was busy must not keep the room of its best days.
        if self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
        true
    }

    /// Lines held.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Accounted memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Time of the newest line ever appended.
    pub(crate) fn last_ns(&self) -> i64 {
        self.last_ns
    }

    /// At most `range.limit` lines of the range, in its order.
    pub(crate) fn read(&self, range: &Range) -> Vec<Entry> {
        let first = self.entries.partition_point(|e| e.timestamp_ns < range.start_ns);
        let end = range.end_ns.map_or(self.entries.len(), |t| {
            self.entries.partition_point(|e| e.timestamp_ns < t)
        });
        if first >= end {
            return Vec::new();
        }
        let lines = self.entries.range(first..end);
        match range.order {
            Order::Ascending => lines.take(range.limit).cloned().collect(),
            Order::Descending => lines.rev().take(range.limit).cloned().collect(),
        }
    }

    /// Counts and times; `None` when empty.
    pub(crate) fn meta(&self) -> Option<SourceMeta> {
        let (oldest, newest) = (self.entries.front()?, self.entries.back()?);
        Some(SourceMeta {
            count: self.entries.len(),
            expired: self.expired,
            oldest_ns: oldest.timestamp_ns,
            newest_ns: newest.timestamp_ns,
        })
    }
}
