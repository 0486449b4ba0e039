//! Keeps the table up to date from the scheduler's route feed. While the feed is away the last good table serves.

use std::sync::Arc;
use std::time::Duration;

use base::{Backoff, Report};
use tracing::{info, warn};
use wire::Channel;
use wire::Status;
use wire::v1::WatchRoutesRequest;
use wire::v1::routes_client::RoutesClient;

use crate::table::Table;

/// Largest message of the feed in bytes: a snapshot of about a million routes.
const LARGEST: usize = 512 << 20;

/// Applies the feed behind `channel` to `table`, reconnecting for ever; spawn it on a task set and cancel it there.
/// `router_id` names this router to the scheduler.
pub async fn watch(table: Arc<Table>, channel: Channel, router_id: String) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    let mut client = RoutesClient::new(channel).max_decoding_message_size(LARGEST);
    let mut told = false;
    loop {
        let before = table.revision();
        let ended = follow(&table, &mut client, &router_id).await;
        if table.revision() != before {
            backoff.reset();
            told = false;
        }
        if !std::mem::replace(&mut told, true) {
            let error: &(dyn std::error::Error + 'static) = &ended;
            warn!(error = %Report(error), "the route feed is away; the last routes stay in use");
        }
        tokio::time::sleep(backoff.next_pause()).await;
    }
}

/// Follows one stream to its end, which is always an error of some kind.
async fn follow(table: &Table, client: &mut RoutesClient<Channel>, router_id: &str) -> Status {
    let request = WatchRoutesRequest {
        router_id: router_id.to_owned(),
    };
    let mut updates = match client.watch(request).await {
        Ok(response) => response.into_inner(),
        Err(status) => return status,
    };
    info!("following the route feed");
    loop {
        match updates.message().await {
            Ok(Some(update)) => table.apply(update),
            Ok(None) => return Status::unavailable("the feed ended"),
            Err(status) => return status,
        }
    }
}
