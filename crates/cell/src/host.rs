//! What a cell has to work with: the second floor, opened, and the instances it holds.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use base::{Clock, Tasks};
use network::Network;
use rootfs::{LayerStore, Quota, Rootfs, Unpacker};
use runtime::{OciRuntime, Runtime};
use tracing::{info, warn};
use wire::LogSink;

use crate::admission::Totals;
use crate::board::Board;
use crate::container::ROOTFS;
use crate::error::{CellError, file};
use crate::ids::IdRanges;
use crate::images::{ImageRecord, Images};
use crate::instance::Instance;
use crate::layers::Fetcher;
use crate::ledger::Ledger;
use crate::registry;
use crate::settings::{Places, Settings};
use crate::trust::Trust;

/// Everything a cell has.
pub(crate) struct Host {
    pub(crate) settings: Settings,
    pub(crate) places: Places,
    pub(crate) totals: Totals,
    pub(crate) fetcher: Fetcher,
    pub(crate) store: LayerStore,
    pub(crate) rootfs: Rootfs,
    pub(crate) quota: Quota,
    pub(crate) network: Network,
    pub(crate) runtime: Runtime,
    pub(crate) ledger: Ledger,
    pub(crate) images: Images,
    pub(crate) board: Board,
    pub(crate) ids: IdRanges,
    pub(crate) trust: Trust,
    pub(crate) logs: LogSink,
    pub(crate) tasks: Tasks,
    /// Held while instances are added, and by who must not see one appear meanwhile. Says whether any may be.
    pub(crate) door: tokio::sync::Mutex<Door>,
    instances: Mutex<BTreeMap<String, Arc<Instance>>>,
}

/// Whether instances are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Open,
    Closed,
}

impl Host {
    /// Opens every part. Nothing of earlier daemons is changed yet.
    pub(crate) fn open(settings: Settings, tasks: Tasks, logs: LogSink) -> Result<Self, CellError> {
        let places = Places::below(&settings.data_dir);
        make_dir(&settings.data_dir, 0o711)?;
        make_dir(&places.instances, 0o711)?;
        // Its lock keeps a second daemon out, so it comes before anything is touched.
        let unpacker = Unpacker::new(settings.unpack_command.clone());
        let store = LayerStore::open(&places.layers, unpacker)?;
        let ledger = Ledger::open(&places.ledger)?;
        let images = Images::open(&places.images)?;
        let runtime = Runtime::open(runtime::Settings {
            state_dir: places.run.clone(),
            cgroup_root: format!("slipway-{}", settings.tag),
            shim_command: settings.shim_command.clone(),
        })?;
        let runtime = match &settings.oci_runtime {
            Some(program) => runtime.using(OciRuntime::External(program.clone()))?,
            None => runtime,
        };
        let network = Network::open(network::Settings {
            tag: settings.tag.clone(),
            cidr: settings.container_cidr,
            state_dir: places.network.clone(),
        })?;
        let quota = Quota::open(settings.disk_quota, &places.instances)?;
        tell_quota(&quota);
        let rootfs = Rootfs::new(store.clone())?.with_quota(quota.clone());
        let own_bytes = store.bytes().saturating_add(written(&rootfs, &places));
        let client = image::Client::new(settings.image.clone())?;
        registry::restore(&client, &places.registry);
        let trust = Trust::lay(&places.trust, &settings.trusted_certificates)?;
        Ok(Self {
            totals: Totals::measure(&settings, own_bytes)?,
            fetcher: Fetcher::new(client, store.clone(), tasks.clone()),
            rootfs,
            quota,
            store,
            network,
            runtime,
            ledger,
            images,
            board: Board::new(),
            ids: IdRanges::default(),
            trust,
            logs,
            tasks,
            door: tokio::sync::Mutex::new(Door::Open),
            instances: Mutex::default(),
            places,
            settings,
        })
    }

    /// Runs what blocks where blocking is allowed.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        let host = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&host)).await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Every instance held, ended ones too.
    pub(crate) fn instances(&self) -> Vec<Arc<Instance>> {
        self.held().values().cloned().collect()
    }

    /// The instance of this guid.
    pub(crate) fn instance(&self, guid: &str) -> Option<Arc<Instance>> {
        self.held().get(guid).cloned()
    }

    /// The guids of all instances held.
    pub(crate) fn guids(&self) -> HashSet<String> {
        self.held().keys().cloned().collect()
    }

    pub(crate) fn add(&self, instance: Arc<Instance>) {
        self.held().insert(instance.guid().to_owned(), instance);
    }

    pub(crate) fn remove(&self, guid: &str) {
        self.held().remove(guid);
    }

    /// Notes that an instance's image is in use, for the order in which unused layers go. Blocks.
    pub(crate) fn note_use(&self, instance: &Instance) {
        let diff_ids: Vec<_> = instance
            .layers
            .iter()
            .map(|layer| layer.diff_id.clone())
            .collect();
        self.store.touch(&diff_ids);
        let is_here = diff_ids.iter().all(|diff_id| self.store.size(diff_id).is_some());
        if let (Some(image), true) = (&instance.spec.image, is_here) {
            self.images.note(image, self.now_ns());
        }
    }

    /// The images the cell keeps whole, the last used first.
    pub(crate) fn cached_images(&self) -> Vec<ImageRecord> {
        self.images.list(&self.store, &self.instances())
    }

    /// Wall-clock time, nanoseconds since 1970.
    pub(crate) fn now_ns(&self) -> i64 {
        base::unix_nanos(Clock::now(&*self.settings.clock))
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Instance>>> {
        self.instances.lock().expect("no holder of this lock panics")
    }
}

/// Says what bounds the instances' writes, loudly if nothing does.
fn tell_quota(quota: &Quota) {
    let driver = quota.driver();
    if driver != "none" {
        info!(driver, "what instances write is bounded");
        return;
    }
    warn!(
        "NOTHING BOUNDS WHAT INSTANCES WRITE: any app can fill the disk of this machine, whatever its disk limit"
    );
    for (driver, error) in quota.passed_over() {
        warn!(driver, error, "a way to bound it does not work here");
    }
}

/// Bytes that instances of earlier daemons have written. What cannot be measured counts as nothing: the cell offers
/// less then.
fn written(rootfs: &Rootfs, places: &Places) -> u64 {
    let instances = std::fs::read_dir(&places.instances)
        .into_iter()
        .flatten()
        .flatten();
    let sizes = instances.map(|entry| {
        rootfs
            .usage(&entry.path(), &entry.path().join(ROOTFS))
            .unwrap_or(0)
    });
    sizes.fold(0, u64::saturating_add)
}

/// Makes a directory and gives it at least this mode.
pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<(), CellError> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(file("make", path))?;
    let permissions = path.metadata().map_err(file("look at", path))?.permissions();
    if permissions.mode() & mode == mode {
        return Ok(());
    }
    let wider = std::fs::Permissions::from_mode(permissions.mode() | mode);
    std::fs::set_permissions(path, wider).map_err(file("set the mode of", path))
}
