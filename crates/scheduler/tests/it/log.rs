//! A log store that keeps lines in memory.

use std::path::Path;
use std::sync::Arc;

use base::Tasks;
use tokio::sync::watch;
use wire::v1::logs_server::{Logs, LogsServer};
use wire::v1::{Envelope, EnvelopeBatch, IngestReply};
use wire::{Request, Response, Status, Streaming};

use crate::fixture::PATIENCE;

#[derive(Clone)]
pub struct FakeLogs(Arc<watch::Sender<Vec<Envelope>>>);

impl FakeLogs {
    pub fn serve(socket: &Path, tasks: &Tasks) -> Self {
        let logs = Self(Arc::new(watch::Sender::new(Vec::new())));
        let incoming = wire::incoming(socket).unwrap();
        let server = wire::Server::builder().add_service(LogsServer::new(logs.clone()));
        tasks.spawn("logs", async move {
            server.serve_with_incoming(incoming).await.unwrap();
        });
        logs
    }

    /// Waits for a line of this source type that holds `text`, and returns all lines of the type so far.
    pub async fn until(&self, source_type: &str, text: &str) -> Vec<String> {
        let mut lines = self.0.subscribe();
        let of_type = |lines: &[Envelope]| -> Vec<String> {
            let of_type = lines.iter().filter(|line| line.source_type == source_type);
            of_type
                .map(|line| String::from_utf8(line.payload.clone()).unwrap())
                .collect()
        };
        let arrived = lines.wait_for(|lines| of_type(lines).iter().any(|line| line.contains(text)));
        let arrived = tokio::time::timeout(PATIENCE, arrived).await;
        assert!(
            arrived.is_ok(),
            "no {source_type} line {text:?}: {:?}",
            of_type(&self.0.borrow())
        );
        of_type(&self.0.borrow())
    }
}

#[wire::async_trait]
impl Logs for FakeLogs {
    async fn ingest(
        &self,
        request: Request<Streaming<EnvelopeBatch>>,
    ) -> Result<Response<IngestReply>, Status> {
        let mut batches = request.into_inner();
        while let Some(batch) = batches.message().await? {
            self.0.send_modify(|lines| lines.extend(batch.envelopes));
        }
        Ok(Response::new(IngestReply {}))
    }
}
