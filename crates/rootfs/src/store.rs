//! The layers of a cell: one directory per diff id, unpacked once, shared read-only by all instances.
//!
//! ```text
//! <dir>/            0711
//!   lock            held for the life of the store: one process at a time
//!   layers/<hex>/   0700 above: set-user-id programs of images are out of the reach of the host's users
//!   meta/<hex>      completeness marker; its mtime is the layer's last use
//!   grafts/<hex>/   what a layer says by way of those below it, see `graft`
//!   tmp/            unpacking and deletion happen here; emptied when the store is opened
//!   empty/          lower directory of an image without layers
//! ```
//!
//! Order on disk, so that a crash at any point is harmless: directory renamed into `layers`, then marker written;
//! marker removed, then directory renamed into `tmp` and deleted. What has no valid marker is removed by `open`.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use model::{Digest, Layer};
use rustix::fs::{AtFlags, CWD, FlockOperation, Timespec, Timestamps, UTIME_NOW, flock, utimensat};
use tracing::{info, warn};

use crate::draft::Draft;
use crate::error::{StoreError, UnpackError};
use crate::flight::{Flights, Work};
use crate::graft;
use crate::marker::{Durability, Marker, boot_id};
use crate::origin::{Origin, Origins};
use crate::unpacker::Unpacker;
use crate::upkeep::sweep;
use crate::{LayerInfo, UnpackLimits};

/// A layer in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLayer {
    /// Digest of the layer's uncompressed tar.
    pub diff_id: Digest,
    /// What it holds.
    pub info: LayerInfo,
    /// When it was last unpacked, asked for or assembled.
    pub last_used: SystemTime,
}

/// The layer store of a cell. Clones share it. All calls block.
#[derive(Clone, Debug)]
pub struct LayerStore(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) boot: String,
    index: Mutex<Index>,
    pub(crate) flights: Flights,
    unpacker: Unpacker,
    /// One collection or settling at a time.
    pub(crate) upkeep: Mutex<()>,
    _lock: File,
}

/// What is here and what must stay.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) layers: HashMap<Digest, Arc<Marker>>,
    pub(crate) pins: HashMap<Digest, u64>,
}

/// Looks at a lock that is taken, and the pause between them.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Keeps layers from being collected until dropped, whether they are here yet or not.
#[derive(Debug)]
#[must_use = "the layers are kept only while this lives"]
pub struct Pin {
    store: LayerStore,
    layers: Vec<Digest>,
}

/// Takes the store's lock. A process that died a moment ago may have left a child between fork and exec, which holds
/// the lock until then: so a lock that is taken gets a little time.
fn take(lock: &File, dir: &Path, path: &Path) -> Result<(), StoreError> {
    for _ in 0..LOCK_TRIES {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            result => return result.map_err(failed("lock", path)),
        }
    }
    Err(StoreError::Busy { dir: dir.to_owned() })
}

impl LayerStore {
    /// Opens or creates the store in `dir` and removes what an earlier process left unfinished. Layers will be unpacked
    /// by `unpacker`.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while another process has it.
    pub fn open(dir: &Path, unpacker: Unpacker) -> Result<Self, StoreError> {
        make_dir(dir, 0o711)?;
        for (name, mode) in [
            ("layers", 0o700),
            ("meta", 0o700),
            ("tmp", 0o700),
            ("grafts", 0o700),
            ("empty", 0o755),
        ] {
            make_dir(&dir.join(name), mode)?;
        }
        let lock_path = dir.join("lock");
        let lock = File::create(&lock_path).map_err(failed("create", &lock_path))?;
        take(&lock, dir, &lock_path)?;
        let boot = boot_id().map_err(failed("read the boot id for", dir))?;
        let layers = sweep(dir, &boot)?;
        let is_kept = |hex: &str| layers.keys().any(|layer| layer.hex() == hex);
        graft::sweep(dir, &boot, is_kept).map_err(failed("clear the grafts of", dir))?;
        let index = Mutex::new(Index {
            layers,
            pins: HashMap::new(),
        });
        let (flights, upkeep) = (Flights::default(), Mutex::new(()));
        Ok(Self(Arc::new(Shared {
            dir: dir.to_owned(),
            boot,
            index,
            flights,
            unpacker,
            upkeep,
            _lock: lock,
        })))
    }

    /// True when the layer is complete here and `origin` has handed it out before. Counts as a use.
    pub fn has(&self, diff_id: &Digest, origin: &Origin) -> bool {
        self.used(diff_id)
            .is_some_and(|marker| marker.origins.contains(origin))
    }

    /// Bytes of file content in a layer, if it is here.
    pub fn size(&self, diff_id: &Digest) -> Option<u64> {
        self.index().layers.get(diff_id).map(|marker| marker.info.bytes)
    }

    /// Unpacks a layer, unless it is here and `origin` has handed it out before: then `blob` is not read. A layer that
    /// only others have handed out is unpacked all the same, so that the caller learns nothing of them, and dropped
    /// in favour of the one that is here. Callers for one layer and origin at the same time share one unpacking; if
    /// it fails, the next of them tries with its own blob.
    ///
    /// `blob` is read to its end, so a reader that verifies the compressed digest there is heard. It must bound its
    /// own waiting. The calling thread must live until this returns, which it does unless it is killed: the process
    /// that unpacks dies with it. The content is verified against `layer.diff_id`; on any error nothing is left.
    ///
    /// # Errors
    /// See [`UnpackError`].
    pub fn unpack(
        &self,
        layer: &Layer,
        origin: &Origin,
        blob: impl io::Read,
        limits: UnpackLimits,
    ) -> Result<LayerInfo, UnpackError> {
        let diff_id = &layer.diff_id;
        let work = Work::Unpack(diff_id.clone(), origin.clone());
        let _flight = self.0.flights.take(work);
        let known = self.used(diff_id);
        if let Some(marker) = known.filter(|marker| marker.origins.contains(origin)) {
            return Ok(marker.info);
        }
        let draft = Draft::new(&self.0.dir, diff_id)?;
        let extracted = draft.fill(diff_id, blob, limits, &self.0.unpacker)?;
        let info = extracted.info;
        let marker = Marker {
            durability: Durability::ThisBoot(self.0.boot.clone()),
            info,
            origins: Origins::default().and(origin),
            root_explicit: extracted.root_explicit,
            implicit: extracted.implicit,
            borrowed: extracted.borrowed,
        };
        self.place(diff_id, origin, draft, marker)?;
        info!(layer = %diff_id, bytes = info.bytes, entries = info.entries, "layer unpacked");
        if info.devices_skipped > 0 || info.xattrs_skipped > 0 {
            let (devices, xattrs) = (info.devices_skipped, info.xattrs_skipped);
            warn!(layer = %diff_id, devices, xattrs, "device nodes or attributes of the layer were left out");
        }
        Ok(info)
    }

    /// Gives an unpacked layer its place, or notes that the one that has it came from `origin` too.
    fn place(
        &self,
        diff_id: &Digest,
        origin: &Origin,
        draft: Draft,
        marker: Marker,
    ) -> Result<(), StoreError> {
        let _flight = self.0.flights.take(Work::Place(diff_id.clone()));
        let marker_path = self.marker_path(diff_id);
        let Some(here) = self.used(diff_id) else {
            draft.keep(&self.layer_path(diff_id), &marker, &marker_path)?;
            self.index().layers.insert(diff_id.clone(), Arc::new(marker));
            return Ok(());
        };
        let marker = Marker {
            origins: here.origins.and(origin),
            ..(*here).clone()
        };
        draft.mark(&marker, &marker_path)?;
        self.index().layers.insert(diff_id.clone(), Arc::new(marker));
        // Nobody waits for the deletion: its duration would tell that there was something to delete.
        std::thread::spawn(move || drop(draft));
        Ok(())
    }

    /// All layers with size and last use, in no order.
    pub fn layers(&self) -> Vec<StoredLayer> {
        let all: Vec<_> = self
            .index()
            .layers
            .iter()
            .map(|(digest, marker)| (digest.clone(), marker.info))
            .collect();
        let describe = |(diff_id, info)| {
            let modified = fs::metadata(self.marker_path(&diff_id)).and_then(|meta| meta.modified());
            StoredLayer {
                diff_id,
                info,
                last_used: modified.unwrap_or(SystemTime::UNIX_EPOCH),
            }
        };
        all.into_iter().map(describe).collect()
    }

    /// Keeps these layers from [`Self::remove`] until the pin is dropped. Take it before asking [`Self::has`]
    /// and hold it while an instance may use the layers.
    pub fn pin(&self, layers: &[Digest]) -> Pin {
        let mut index = self.index();
        for layer in layers {
            *index.pins.entry(layer.clone()).or_default() += 1;
        }
        Pin {
            store: self.clone(),
            layers: layers.to_vec(),
        }
    }

    /// The marker of a layer that is here; counts as a use.
    pub(crate) fn used(&self, diff_id: &Digest) -> Option<Arc<Marker>> {
        let marker = self.index().layers.get(diff_id).cloned()?;
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let times = Timestamps {
            last_access: now,
            last_modification: now,
        };
        // The time of use only orders collection: without it the layer looks older than it is.
        if let Err(error) = utimensat(CWD, self.marker_path(diff_id), &times, AtFlags::empty()) {
            warn!(layer = %diff_id, %error, "cannot note the use of a layer");
        }
        Some(marker)
    }

    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.0.index.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn layer_path(&self, diff_id: &Digest) -> PathBuf {
        self.0.dir.join("layers").join(diff_id.hex())
    }

    pub(crate) fn marker_path(&self, diff_id: &Digest) -> PathBuf {
        self.0.dir.join("meta").join(diff_id.hex())
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut index = self.store.index();
        for layer in &self.layers {
            if let Some(count) = index.pins.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    index.pins.remove(layer);
                }
            }
        }
    }
}

/// For `map_err` on an operation of the store.
pub(crate) fn failed<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io {
        action,
        path,
        source: source.into(),
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), StoreError> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed("create", path)(error)),
        // The umask may have taken bits away, or an earlier version left others.
        _ => fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(failed("set the mode of", path)),
    }
}
