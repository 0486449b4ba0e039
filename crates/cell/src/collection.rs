//! Removal of layers nobody uses, when the disk fills up.
//!
//! A layer that is here is a start without fetching, so age alone removes nothing. Above the high mark the layers not
//! used for the longest time go until the low mark is reached. Pins say what is used: every instance the cell holds,
//! ended ones too until they are forgotten, pins its layers from its acceptance on, fetched or not. One layer goes at a
//! time, and the pause after it is as long as its removal took: ext4 creates files slowly where many were just deleted.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::Report;
use rustix::fs::statvfs;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::host::Host;
use crate::settings::Collection;

/// Bounds of the pause after a removal.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How full a filesystem and the store on it are, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fill {
    /// Used by anybody.
    pub(crate) used: u64,
    /// Free for this cell.
    pub(crate) free: u64,
    /// File content of layers.
    pub(crate) layers: u64,
}

/// Which mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    High,
    Low,
}

/// Removes what the marks demand.
pub(crate) async fn collect(host: &Arc<Host>) {
    let marks = host.settings.collection;
    if !is_above(host, marks, Mark::High) {
        return;
    }
    let (mut layers, mut bytes) = (0_u64, 0);
    for layer in host.blocking(|host| host.store.idle()).await {
        let start = Instant::now();
        match host.blocking(move |host| host.store.remove(&layer.diff_id)).await {
            Ok(None) => continue,
            Ok(Some(removed)) => (layers, bytes) = (layers + 1, bytes + removed),
            Err(error) => {
                warn!(error = %Report(&error), "cannot remove an unused layer; trying again later");
                break;
            }
        }
        if !is_above(host, marks, Mark::Low) {
            break;
        }
        sleep(start.elapsed().clamp(SHORTEST_PAUSE, LONGEST_PAUSE)).await;
    }
    host.blocking(|host| host.images.prune(&host.store, &host.instances()))
        .await;
    if layers > 0 {
        info!(
            layers,
            bytes, "removed unused layers: the disk is above its high mark"
        );
    }
}

/// How full it is where the layers are.
pub(crate) fn fill(dir: &Path, layers: u64) -> rustix::io::Result<Fill> {
    let disk = statvfs(dir)?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Ok(Fill {
        used: bytes(disk.f_blocks.saturating_sub(disk.f_bfree)),
        free: bytes(disk.f_bavail),
        layers,
    })
}

fn is_above(host: &Host, marks: Collection, mark: Mark) -> bool {
    fill(&host.places.layers, host.store.bytes()).is_ok_and(|fill| fill.is_above(marks, mark))
}

impl Fill {
    fn is_above(self, marks: Collection, mark: Mark) -> bool {
        let high = u64::from(marks.high_percent);
        let low = u64::from(marks.low_percent.min(marks.high_percent));
        let (part, share) = match mark {
            Mark::High => (high, 100),
            // The store has the same two marks, its cap being the high one.
            Mark::Low => (low, (low * 100).checked_div(high).unwrap_or(100)),
        };
        let all = u128::from(self.used) + u128::from(self.free);
        let of_disk = u128::from(self.used) * 100 > all * u128::from(part);
        let of_store = marks
            .image_store_mb
            .is_some_and(|mb| u128::from(self.layers) * 100 > (u128::from(mb) << 20) * u128::from(share));
        of_disk || of_store
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_of_what_can_be_used() {
        let fill = |used, free| Fill {
            used,
            free,
            layers: 0,
        };
        let marks = Collection::default();
        for (used, free, high, low) in [
            (85, 15, false, true),
            (86, 14, true, true),
            (75, 25, false, false),
            (0, 0, false, false),
            (u64::MAX, 0, true, true),
        ] {
            let fill = fill(used, free);
            assert_eq!(
                (fill.is_above(marks, Mark::High), fill.is_above(marks, Mark::Low)),
                (high, low),
                "{fill:?}"
            );
        }
    }

    #[test]
    fn the_store_has_a_cap_of_its_own() {
        let marks = Collection {
            image_store_mb: Some(100),
            ..Collection::default()
        };
        for (mb, high, low) in [(101, true, true), (99, false, true), (88, false, false)] {
            let fill = Fill {
                used: 1,
                free: 1000,
                layers: mb << 20,
            };
            assert_eq!(
                (fill.is_above(marks, Mark::High), fill.is_above(marks, Mark::Low)),
                (high, low),
                "{mb}"
            );
        }
    }
}
