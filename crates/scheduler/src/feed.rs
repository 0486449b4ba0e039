//! Listening to one cell: describe, watch, and a look from time to time whether it still answers.

use std::error::Error;
use std::time::Duration;

use base::{Backoff, Report as Chain};
use model::CellId;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use wire::v1::cell_client::CellClient;
use wire::v1::cell_event::Event;
use wire::v1::{CellDescription, DescribeRequest, WatchRequest};
use wire::{Channel, Status, Streaming};

use crate::cell::{News, Report};

/// Pause between looks whether a connected cell still answers, and the time it has to.
const PROBE: Duration = Duration::from_secs(5);
/// Largest message of the stream in bytes: one instance with its last lines.
const LARGEST: usize = 16 << 20;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum Away {
    #[error("the cell answered with an error")]
    Answer(#[source] Status),
    #[error("the cell did not answer within {} s", PROBE.as_secs())]
    Silent,
    #[error("the cell ended the stream")]
    Ended,
    #[error("a cell that calls itself {0} answers there; check which socket belongs to which cell")]
    Stranger(String),
}

/// Follows the cell for ever and tells all its news; ends when nobody listens.
pub(crate) async fn follow(id: CellId, channel: Channel, inbox: mpsc::Sender<Report>) {
    let mut client = CellClient::new(channel).max_decoding_message_size(LARGEST);
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    let mut told = false;
    while !inbox.is_closed() {
        let mut feed = Feed {
            id: &id,
            inbox: &inbox,
            synced: false,
        };
        let away = feed.listen(&mut client).await;
        if feed.synced {
            backoff.reset();
            told = false;
        }
        feed.tell(News::Disconnected).await;
        if !std::mem::replace(&mut told, true) {
            let away: &(dyn Error + 'static) = &away;
            warn!(cell = %id, error = %Chain(away), "the cell is away; its instances are left as they are");
        }
        sleep(backoff.next_pause()).await;
    }
}

struct Feed<'a> {
    id: &'a CellId,
    inbox: &'a mpsc::Sender<Report>,
    synced: bool,
}

impl Feed<'_> {
    /// One connection, from the first word to why it ended.
    async fn listen(&mut self, client: &mut CellClient<Channel>) -> Away {
        let description = match describe(client).await {
            Ok(description) if description.cell_id == self.id.as_str() => description,
            Ok(description) => return Away::Stranger(description.cell_id),
            Err(away) => return away,
        };
        let events = match timeout(PROBE, client.watch(WatchRequest {})).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Away::Answer(status),
            Err(_) => return Away::Silent,
        };
        self.tell(News::Connected(description)).await;
        // Cancel-safe: when one of the two ends, so does the connection, and nothing read from it counts any more.
        tokio::select! {
            away = self.read(events) => away,
            away = probe(client.clone()) => away,
        }
    }

    async fn read(&mut self, mut events: Streaming<wire::v1::CellEvent>) -> Away {
        loop {
            match events.message().await {
                Ok(Some(event)) => match event.event {
                    Some(Event::Instance(status)) => self.tell(News::Instance(Box::new(status))).await,
                    Some(Event::Synced(_)) => {
                        info!(cell = %self.id, "the cell has reported");
                        self.synced = true;
                        self.tell(News::Synced).await;
                    }
                    // A newer cell may know events that this scheduler does not.
                    None => {}
                },
                Ok(None) => return Away::Ended,
                Err(status) => return Away::Answer(status),
            }
        }
    }

    async fn tell(&self, news: News) {
        let cell = self.id.clone();
        // Nobody listens only while everything ends.
        let _ = self.inbox.send(Report { cell, news }).await;
    }
}

async fn describe(client: &mut CellClient<Channel>) -> Result<CellDescription, Away> {
    match timeout(PROBE, client.describe(DescribeRequest {})).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Away::Answer(status)),
        Err(_) => Err(Away::Silent),
    }
}

/// Asks until the cell does not answer.
async fn probe(mut client: CellClient<Channel>) -> Away {
    loop {
        sleep(PROBE).await;
        if let Err(away) = describe(&mut client).await {
            return away;
        }
    }
}
