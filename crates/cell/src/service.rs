//! The cell's gRPC service; the contract is in `wire`'s proto file.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base::Report;
use futures_util::{Stream, stream};
use tokio::time::timeout;
use tracing::{info, warn};
use wire::v1::cell_server::Cell;
use wire::v1::{
    CachedImage, CellDescription, CellEvent, ConfigureReply, ConfigureRequest, DescribeRequest, ForgetReply,
    ForgetRequest, ImagesReply, ImagesRequest, Refusal, RunReply, RunRequest, StatsReply, StatsRequest,
    StopReply, StopRequest, WatchRequest,
};
use wire::{Request, Response, Status};

use crate::actor::Begin;
use crate::admission;
use crate::container;
use crate::host::{Door, Host};
use crate::images::ImageRecord;
use crate::recovery;
use crate::registry;
use crate::stats;

/// How long an ended instance may take to be gone.
const REMOVAL: Duration = Duration::from_secs(30);
/// Most instances one request names.
const MOST: usize = 10_000;

/// Serves one cell. Clones serve the same.
#[derive(Clone)]
pub struct Service(pub(crate) Arc<Host>);

#[wire::async_trait]
impl Cell for Service {
    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<CellDescription>, Status> {
        let host = &self.0;
        let platform = model::Platform::host();
        Ok(Response::new(CellDescription {
            cell_id: host.settings.cell_id.clone(),
            address: host.network.gateway().to_string(),
            memory_mb: host.totals.memory_mb,
            disk_mb: host.totals.disk_mb,
            containers: host.totals.containers,
            os: platform.os,
            architecture: platform.architecture,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }

    async fn run(&self, request: Request<RunRequest>) -> Result<Response<RunReply>, Status> {
        let instances = bounded(request.into_inner().instances)?;
        let host = Arc::clone(&self.0);
        // In a task of its own: a caller that goes away must not leave an accepted instance without an actor.
        let (sender, answer) = tokio::sync::oneshot::channel();
        self.0.tasks.spawn("accept instances", async move {
            let _ = sender.send(accept(&host, instances).await);
        });
        let refused = answer
            .await
            .map_err(|_| Status::unavailable("the cell is ending"))?;
        Ok(Response::new(RunReply { refused }))
    }

    async fn stop(&self, request: Request<StopRequest>) -> Result<Response<StopReply>, Status> {
        for guid in bounded(request.into_inner().instance_guids)? {
            if let Some(instance) = self.0.instance(&guid) {
                instance.stop.cancel();
            }
        }
        Ok(Response::new(StopReply {}))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<CellEvent, Status>> + Send>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let host = Arc::clone(&self.0);
        let watcher = host.board.watch();
        let events = stream::unfold((host, watcher), |(host, mut watcher)| async move {
            let over = host.tasks.token();
            // Cancel-safe: the stream ends with the cell.
            let event = tokio::select! {
                () = over.cancelled() => None,
                event = watcher.next(&host.board) => event,
            };
            event.map(|event| (Ok(event), (host, watcher)))
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn forget(&self, request: Request<ForgetRequest>) -> Result<Response<ForgetReply>, Status> {
        let guids = bounded(request.into_inner().instance_guids)?;
        for guid in guids {
            forget(&self.0, &guid).await?;
        }
        Ok(Response::new(ForgetReply {}))
    }

    async fn stats(&self, request: Request<StatsRequest>) -> Result<Response<StatsReply>, Status> {
        let guids = bounded(request.into_inner().instance_guids)?;
        let usage = stats::usage(&self.0, &guids).await;
        Ok(Response::new(StatsReply { usage }))
    }

    async fn configure(
        &self,
        request: Request<ConfigureRequest>,
    ) -> Result<Response<ConfigureReply>, Status> {
        registry::configure(&self.0, request.into_inner()).await?;
        Ok(Response::new(ConfigureReply {}))
    }

    async fn images(&self, _: Request<ImagesRequest>) -> Result<Response<ImagesReply>, Status> {
        Ok(Response::new(ImagesReply {
            cell_id: self.0.settings.cell_id.clone(),
            images: self.0.cached_images().into_iter().map(told).collect(),
        }))
    }
}

fn told(record: ImageRecord) -> CachedImage {
    let digest = record.manifest_digest.map(|digest| digest.to_string());
    CachedImage {
        reference: record.reference,
        manifest_digest: digest.unwrap_or_default(),
        bytes: record.bytes,
        exclusive_bytes: record.exclusive_bytes,
        layers: u32::try_from(record.layers.len()).unwrap_or(u32::MAX),
        instance_guids: record.instances,
        last_used_ns: record.last_used_ns,
    }
}

async fn accept(host: &Arc<Host>, instances: Vec<wire::v1::InstanceSpec>) -> Vec<Refusal> {
    let door = host.door.lock().await;
    let mut refused = Vec::new();
    for spec in instances {
        let instance_guid = spec.instance_guid.clone();
        let admitted = match *door {
            Door::Open => admission::admit(host, spec).await,
            Door::Closed => Err("the cell is being stopped".to_owned()),
        };
        match admitted {
            Ok(Some(instance)) => recovery::start(host, instance, Begin::Anew),
            Ok(None) => {}
            Err(reason) => {
                info!(instance = instance_guid, reason, "refused an instance");
                refused.push(Refusal {
                    instance_guid,
                    reason,
                });
            }
        }
    }
    refused
}

/// Forgets an instance that has ended; any other is left alone.
async fn forget(host: &Arc<Host>, guid: &str) -> Result<(), Status> {
    let Some(instance) = host.instance(guid).filter(|instance| !instance.is_live()) else {
        return Ok(());
    };
    // An end is told a moment before its actor is done, or after a restart before what is left was removed.
    let done = timeout(REMOVAL, instance.ended.cancelled()).await;
    done.map_err(|_| Status::unavailable("an ended instance is still being removed; ask again"))?;
    // What could not be removed at the end gets a last chance while its guid is known.
    if instance.dir.exists()
        && let Err(error) = container::dismantle(host, guid).await
    {
        warn!(instance = guid, error = %Report(&error), "forgetting an instance of which something is left");
    }
    let _door = host.door.lock().await;
    let owned = guid.to_owned();
    let removed = host.blocking(move |host| host.ledger.remove(&owned)).await;
    removed.map_err(|error| Status::internal(format!("the cell's ledger cannot be written: {error}")))?;
    host.remove(guid);
    host.board.remove(guid);
    Ok(())
}

fn bounded<T>(list: Vec<T>) -> Result<Vec<T>, Status> {
    if list.len() > MOST {
        return Err(Status::invalid_argument(format!(
            "more than {MOST} instances in one request"
        )));
    }
    Ok(list)
}
