//! What a cell does for itself while it runs: repairs its network, removes layers nobody uses.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base::Report;
use model::Digest;
use rustix::fs::statvfs;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::host::Host;

const EVERY: Duration = Duration::from_secs(60);
/// A layer nobody used for this long goes.
const LAYERS_KEPT: Duration = Duration::from_secs(24 * 3600);
/// With less of the disk free than this part, every unused layer goes.
const FREE_PART: u64 = 10;

/// Runs until the cell ends.
pub(crate) async fn run(host: Arc<Host>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, and the cell was just swept when it was opened.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        repair_network(&host).await;
        let host = Arc::clone(&host);
        host.blocking(collect_layers).await;
    }
}

async fn repair_network(host: &Arc<Host>) {
    // No instance appears while the sweep runs, so none is swept away.
    let door = host.door.lock().await;
    let keep = host.guids();
    let swept = host.blocking(move |host| host.network.sweep(&keep)).await;
    drop(door);
    match swept {
        Ok(removed) if removed.is_empty() => {}
        Ok(removed) => info!(?removed, "removed links of containers nobody holds"),
        Err(error) => warn!(error = %Report(&error), "cannot look after the container network"),
    }
}

fn collect_layers(host: &Host) {
    let keep = if is_disk_low(host) {
        HashSet::new()
    } else {
        recent(host)
    };
    if let Err(error) = host.store.remove_unused(&keep) {
        warn!(error = %Report(&error), "cannot remove unused layers");
    }
}

fn recent(host: &Host) -> HashSet<Digest> {
    let now: SystemTime = host.settings.clock.now();
    let is_recent =
        |used: SystemTime| now.duration_since(used).is_ok_and(|age| age < LAYERS_KEPT) || used > now;
    host.store
        .layers()
        .into_iter()
        .filter(|layer| is_recent(layer.last_used))
        .map(|layer| layer.diff_id)
        .collect()
}

fn is_disk_low(host: &Host) -> bool {
    statvfs(&host.places.layers).is_ok_and(|disk| disk.f_bavail < disk.f_blocks / FREE_PART)
}
