//! The cell as the daemon holds it: opened, served, stopped, destroyed.

use std::sync::Arc;
use std::time::Duration;

use base::Tasks;
use futures_util::future::join_all;
use tokio::time::timeout;
use tracing::info;
use wire::LogSink;
use wire::v1::cell_server::CellServer;

use crate::error::{CellError, file};
use crate::host::{Door, Host};
use crate::images::ImageRecord;
use crate::recovery;
use crate::service::Service;
use crate::settings::Settings;
use crate::upkeep;

/// Largest request: specs carry whole environments.
const LARGEST_REQUEST: usize = 64 << 20;
/// What killing and removing what did not end in time may take.
const REMOVAL: Duration = Duration::from_secs(60);

/// A cell. Dropping it, or cancelling its tasks, stops no instance: they run on until another daemon opens the cell.
pub struct Cell {
    host: Arc<Host>,
}

impl Cell {
    /// Opens network, layer store and runtime, adopts the instances of earlier daemons and removes what nobody wants.
    /// All work goes on in `tasks`; `logs` gets what the apps say and what is said about them.
    ///
    /// The process must have installed a rustls provider.
    ///
    /// # Errors
    /// When a part cannot be used; nothing of earlier daemons has been changed then.
    pub async fn open(settings: Settings, tasks: Tasks, logs: LogSink) -> Result<Self, CellError> {
        let opened = tokio::task::spawn_blocking(move || Host::open(settings, tasks, logs)).await;
        let host = match opened {
            Ok(host) => Arc::new(host?),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        recovery::recover(&host).await?;
        host.tasks.spawn("upkeep", upkeep::run(Arc::clone(&host)));
        let held = host.instances().len();
        let quota = host.quota.driver();
        info!(cell = host.settings.cell_id, held, quota, totals = ?host.totals, "cell opened");
        Ok(Self { host })
    }

    /// The service for a gRPC server.
    pub fn service(&self) -> CellServer<Service> {
        CellServer::new(Service(Arc::clone(&self.host))).max_decoding_message_size(LARGEST_REQUEST)
    }

    /// The images whose layers the cell keeps, the last used first. From memory; does not block.
    pub fn images(&self) -> Vec<ImageRecord> {
        self.host.cached_images()
    }

    /// What bounds what instances write: `btrfs`, `loop` or `none`.
    pub fn disk_quota(&self) -> &'static str {
        self.host.quota.driver()
    }

    /// Ends every instance gracefully, and after `deadline` at once. No instance is accepted from now on. The ends
    /// stay in the ledger for the scheduler to see.
    ///
    /// # Errors
    /// [`CellError::StillRunning`] when something could not even be killed.
    pub async fn stop_all(&self, deadline: Duration) -> Result<(), CellError> {
        *self.host.door.lock().await = Door::Closed;
        let instances = self.host.instances();
        for instance in &instances {
            instance.stop.cancel();
        }
        let ended = || join_all(instances.iter().map(|instance| instance.ended.cancelled()));
        if timeout(deadline, ended()).await.is_ok() {
            return Ok(());
        }
        for instance in &instances {
            instance.hurry.cancel();
        }
        match timeout(REMOVAL, ended()).await {
            Ok(_) => Ok(()),
            Err(_) => {
                let left = instances.iter().filter(|instance| !instance.ended.is_cancelled());
                Err(CellError::StillRunning(left.count()))
            }
        }
    }

    /// Removes everything the cell made but the layers: containers, network, mounts, control groups, ledger. Instances
    /// have `deadline` to end by themselves.
    ///
    /// # Errors
    /// When something could not be removed; opening the cell and destroying it again goes on.
    pub async fn destroy(&self, deadline: Duration) -> Result<(), CellError> {
        let host = &self.host;
        self.stop_all(deadline).await?;
        for instance in host.instances() {
            let guid = instance.guid().to_owned();
            let path = host.places.ledger.join(&guid);
            let removed = host.blocking(move |host| host.ledger.remove(&guid)).await;
            removed.map_err(file("remove", path))?;
            host.remove(instance.guid());
            host.board.remove(instance.guid());
        }
        recovery::remove_strangers(host).await?;
        host.blocking(|host| host.network.destroy()).await?;
        host.runtime.close();
        host.blocking(|host| host.quota.drain()).await;
        host.blocking(|host| {
            let places = &host.places;
            for dir in [&places.instances, &places.run, &places.ledger, &places.network] {
                match std::fs::remove_dir_all(dir) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(file("remove", dir)(error));
                    }
                    _ => {}
                }
            }
            Ok(())
        })
        .await
    }
}
