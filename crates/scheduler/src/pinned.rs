//! What the planner needs of desired LRPs, remembered by version.
//!
//! A desired row never changes after it was written and holds a whole sealed spec, so each is read once, not at every
//! pass.

use std::collections::{HashMap, HashSet};

use planner::Lifecycle;
use store::{Query, StoreError, Tx, desired_lrp};

/// Versions asked for with one query; bounds the sealed specs in memory.
const CHUNK: usize = 200;

/// The small part of a desired row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pinned {
    pub(crate) memory_mb: u64,
    pub(crate) disk_mb: u64,
    pub(crate) lifecycle: Lifecycle,
}

/// Pinned parts by version.
#[derive(Default)]
pub(crate) struct PinnedCache(HashMap<String, Pinned>);

impl PinnedCache {
    /// Knows exactly `versions` afterwards, as far as they have a row.
    pub(crate) async fn refresh(&mut self, tx: &Tx, versions: &HashSet<&str>) -> Result<(), StoreError> {
        self.0.retain(|version, _| versions.contains(version.as_str()));
        let missing: Vec<&str> = versions
            .iter()
            .copied()
            .filter(|v| !self.0.contains_key(*v))
            .collect();
        for chunk in missing.chunks(CHUNK) {
            let query =
                Query::<desired_lrp::Entity>::new().any_of(desired_lrp::Column::Guid, chunk.iter().copied());
            for row in tx.all(query).await? {
                let pinned = pinned(&row);
                self.0.insert(row.guid, pinned);
            }
        }
        Ok(())
    }

    pub(crate) fn get(&self, version: &str) -> Option<Pinned> {
        self.0.get(version).copied()
    }
}

fn pinned(row: &desired_lrp::Model) -> Pinned {
    let unsigned = |number: i64| u64::try_from(number).unwrap_or_default();
    Pinned {
        memory_mb: unsigned(row.memory_mb),
        disk_mb: unsigned(row.disk_mb),
        lifecycle: if row.lifecycle == "docker" {
            Lifecycle::Docker
        } else {
            Lifecycle::Buildpack
        },
    }
}
