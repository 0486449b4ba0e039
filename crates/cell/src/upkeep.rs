//! What a cell does for itself while it runs: repairs its network, keeps its disk from filling up.

use std::sync::Arc;
use std::time::Duration;

use base::Report;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use crate::collection;
use crate::host::Host;

/// Between looks at the disk: one system call.
const EVERY: Duration = Duration::from_secs(5);
/// The network is looked after at each of so many looks.
const NETWORK_EVERY: u64 = 12;

/// Runs until the cell ends.
pub(crate) async fn run(host: Arc<Host>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for look in 0_u64.. {
        ticks.tick().await;
        // The network was just swept when the cell was opened.
        if look % NETWORK_EVERY == NETWORK_EVERY - 1 {
            repair_network(&host).await;
        }
        collection::collect(&host).await;
        // What the next instances need is made when nobody waits for it.
        if let Err(error) = host.blocking(|host| host.quota.stock()).await {
            debug!(error = %Report(&error), "cannot make disks ahead");
        }
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
