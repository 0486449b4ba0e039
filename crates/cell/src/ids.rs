//! Host ids of containers: a range of 65,536 for each instance, none shared.
//!
//! Ranges lie between the ids of local users and those above 2^31 that some programs take for negative. Where in it
//! an instance starts to look comes from its guid, so that platforms on one host seldom meet and an id is seldom
//! given again soon.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

/// Ids of one container.
pub(crate) const SIZE: u32 = 65_536;
/// The first range starts at 2^28.
const FIRST: u32 = 0x1000_0000;
/// The last one ends below 0x7000_0000.
const SLOTS: u32 = (0x7000_0000 - FIRST) / SIZE;

/// Which ranges are in use.
#[derive(Debug, Default)]
pub(crate) struct IdRanges(Mutex<HashSet<u32>>);

impl IdRanges {
    /// A free range for `guid`: its first host id. `None` when all are in use.
    pub(crate) fn take(&self, guid: &str) -> Option<u32> {
        let mut hasher = DefaultHasher::new();
        guid.hash(&mut hasher);
        let start = u32::try_from(hasher.finish() % u64::from(SLOTS)).unwrap_or(0);
        let mut used = self.0.lock().expect("no holder of this lock panics");
        (0..SLOTS)
            .map(|step| FIRST + (start + step) % SLOTS * SIZE)
            .find(|first| used.insert(*first))
    }

    /// Marks the range of an instance of an earlier daemon.
    pub(crate) fn adopt(&self, first: u32) {
        self.0
            .lock()
            .expect("no holder of this lock panics")
            .insert(first);
    }

    /// Gives a range back.
    pub(crate) fn release(&self, first: u32) {
        self.0
            .lock()
            .expect("no holder of this lock panics")
            .remove(&first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_range_is_given_twice_and_all_stay_in_bounds() {
        let ranges = IdRanges::default();
        let mut seen = HashSet::new();
        for number in 0..SLOTS {
            let first = ranges.take(&number.to_string()).expect("a free range");
            assert!(first >= FIRST && first + (SIZE - 1) < 0x7000_0000 && first % SIZE == 0);
            assert!(seen.insert(first));
        }
        assert_eq!(ranges.take("one more"), None);
        ranges.release(FIRST);
        assert_eq!(ranges.take("one more"), Some(FIRST));
    }

    #[test]
    fn the_range_of_an_earlier_daemon_is_not_given_again() {
        let ranges = IdRanges::default();
        let first = ranges.take("a").expect("a free range");
        ranges.release(first);
        ranges.adopt(first);
        assert_ne!(ranges.take("a"), Some(first));
    }
}
