//! Takes envelopes from the other roles.

use std::sync::Arc;

use tracing::debug;
use wire::v1::logs_server::{Logs, LogsServer};
use wire::v1::{EnvelopeBatch, IngestReply};
use wire::{Request, Response, Status, Streaming, async_trait};

use crate::Store;

/// The service `slipway.v1.Logs` over a store. Its reply means that every batch of the call is stored.
pub struct Ingest(Arc<Store>);

impl Ingest {
    /// The service, ready for a `tonic` server.
    pub fn service(store: Arc<Store>) -> LogsServer<Self> {
        LogsServer::new(Self(store))
    }
}

#[async_trait]
impl Logs for Ingest {
    async fn ingest(
        &self,
        request: Request<Streaming<EnvelopeBatch>>,
    ) -> Result<Response<IngestReply>, Status> {
        let mut batches = request.into_inner();
        loop {
            match batches.message().await {
                Ok(Some(batch)) => self.0.append_batch(batch),
                Ok(None) => return Ok(Response::new(IngestReply {})),
                Err(status) => {
                    debug!(%status, "a sender of log lines went away");
                    return Err(status);
                }
            }
        }
    }
}
