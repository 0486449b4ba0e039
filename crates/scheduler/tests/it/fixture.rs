//! A scheduler with its database, cell, logs and router, all of one test.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use auth::{SealKey, Sealer};
use base::{SystemClock, Tasks};
use model::{CellId, Platform, RegistrySettings};
use scheduler::{OwnRegistry, Scheduler, Settings, Timing};
use store::{Noun, Query, Store, actual_lrp, registry_settings};
use tempfile::TempDir;
use wire::LogSink;

use crate::cell::{FakeCell, Served};
use crate::log::FakeLogs;
use crate::route::Router;

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(15);

pub struct House {
    dir: TempDir,
    pub store: Store,
    pub sealer: Arc<Sealer>,
    pub cell: FakeCell,
    pub logs: FakeLogs,
    pub options: Options,
    /// The cells the next scheduler is told of.
    pub cells: Vec<&'static str>,
    /// The cell, while it can be reached.
    pub served: Option<Served>,
    /// Logs; the scheduler has tasks of its own, so that it can be killed.
    tasks: Tasks,
    running: Tasks,
}

/// What differs between tests.
#[derive(Clone)]
pub struct Options {
    pub insecure: Vec<String>,
    pub own_registry: Option<OwnRegistry>,
    pub staging_timeout: Duration,
    pub cell_lease: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            own_registry: None,
            staging_timeout: Duration::from_secs(30),
            cell_lease: Duration::from_secs(60),
        }
    }
}

impl House {
    /// Everything running, but the scheduler.
    pub async fn furnished(options: Options) -> Self {
        testkit::tls();
        let dir = tempfile::tempdir().unwrap();
        let database = store::Options::Sqlite(dir.path().join("db.sqlite"));
        let store = Store::open(database, Arc::new(SystemClock)).await.unwrap();
        let tasks = Tasks::new();
        let cell = FakeCell::new("cell-0");
        let served = Some(cell.serve(&dir.path().join("cell-0.sock")));
        let logs = FakeLogs::serve(&dir.path().join("logs.sock"), &tasks);
        Self {
            sealer: Arc::new(Sealer::new(SealKey::generate(1), []).unwrap()),
            running: Tasks::new(),
            cells: vec!["cell-0"],
            dir,
            store,
            cell,
            served,
            logs,
            options,
            tasks,
        }
    }

    pub async fn start() -> Self {
        let mut house = Self::furnished(Options::default()).await;
        house.start_scheduler();
        house
    }

    /// A second cell.
    pub fn second_cell(&mut self) -> (FakeCell, Served) {
        let cell = FakeCell::new("cell-1");
        self.cells.push("cell-1");
        let served = cell.serve(&self.socket("cell-1"));
        (cell, served)
    }

    /// Where something is served.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.sock"))
    }

    fn registry(&self) -> RegistrySettings {
        RegistrySettings {
            insecure: self.options.insecure.clone(),
            ..RegistrySettings::default()
        }
    }

    /// Stores an operator's document, as the API does.
    pub async fn set_registry(&self, version: i64, document: &RegistrySettings) {
        let row = registry_settings::Model {
            id: 0,
            guid: registry_settings::ONLY.to_owned(),
            created_at: 0,
            updated_at: 0,
            version,
            document: serde_json::to_string(document).unwrap(),
        };
        let tx = self.store.write().await.unwrap();
        tx.delete::<registry_settings::Entity>(registry_settings::ONLY)
            .await
            .unwrap();
        tx.insert::<registry_settings::Entity>(row).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub fn start_scheduler(&mut self) -> Scheduler {
        self.running = Tasks::new();
        let cell = |id: &str| (CellId::new(id), wire::connect(&self.socket(id)));
        let settings = Settings {
            store: self.store.clone(),
            sealer: self.sealer.clone(),
            registry: self.registry(),
            image: image::Client::new(image::Settings {
                registry: self.registry(),
                max_retries: 0,
                ..image::Settings::default()
            })
            .unwrap(),
            platform: Platform {
                os: "linux".to_owned(),
                architecture: "amd64".to_owned(),
                variant: String::new(),
            },
            cells: self.cells.iter().map(|id| cell(id)).collect(),
            logs: LogSink::start(&self.tasks, wire::connect(&self.socket("logs"))),
            own_registry: self.options.own_registry.clone(),
            timing: Timing {
                staging_timeout: self.options.staging_timeout,
                // Long enough that a test which passes did not wait for the full pass.
                converge_interval: Duration::from_secs(600),
                cell_lease: self.options.cell_lease,
            },
        };
        let scheduler = Scheduler::start(settings, &self.running);
        let incoming = wire::incoming(&self.socket("routes")).unwrap();
        let server = wire::Server::builder().add_service(scheduler.routes_service());
        self.running.spawn("routes", async move {
            server.serve_with_incoming(incoming).await.unwrap();
        });
        scheduler
    }

    /// Ends the scheduler between two instructions, as a kill would.
    pub async fn kill_scheduler(&self) {
        self.running.shutdown(Duration::ZERO).await;
    }

    pub async fn watch_routes(&self) -> Router {
        Router::watch(&self.socket("routes")).await
    }

    /// The row once it is as the test wants it.
    pub async fn until<E: Noun, T>(&self, what: &str, found: impl Fn(Vec<E::Row>) -> Option<T>) -> T {
        let mut feed = self.store.feed();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            feed.mark_unchanged();
            let tx = self.store.read().await.unwrap();
            let rows = tx.all(Query::<E>::new()).await.unwrap();
            drop(tx);
            let shown = format!("{rows:?}");
            if let Some(value) = found(rows) {
                return value;
            }
            let changed = tokio::time::timeout_at(deadline, feed.changed()).await;
            assert!(changed.is_ok(), "{what} never came; the last rows: {shown}");
        }
    }

    /// The instance rows once they are as wanted.
    pub async fn instances(
        &self,
        what: &str,
        wanted: impl Fn(&[actual_lrp::Model]) -> bool,
    ) -> Vec<actual_lrp::Model> {
        self.until::<actual_lrp::Entity, _>(what, |rows| wanted(&rows).then_some(rows))
            .await
    }

    /// The instances once so many of them are in this state and there are no others.
    pub async fn all_in(&self, state: &str, count: usize) -> Vec<actual_lrp::Model> {
        self.instances(&format!("{count} {state}"), |rows| {
            rows.len() == count && rows.iter().all(|row| row.state == state)
        })
        .await
    }
}
