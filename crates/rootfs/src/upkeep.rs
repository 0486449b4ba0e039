//! Upkeep of the store: the sweep when it is opened, durability, collection of unused layers.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use model::Digest;
use rustix::fs::syncfs;
use tracing::{info, warn};

use crate::draft::Draft;
use crate::error::StoreError;
use crate::flight::Work;
use crate::marker::{Durability, Marker};
use crate::remove::remove_tree;
use crate::store::{LayerStore, StoredLayer, failed};

/// What a collection freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Layers removed.
    pub layers: u64,
    /// Bytes of file content in them.
    pub bytes: u64,
}

impl LayerStore {
    /// Makes every layer survive a power failure: one flush of the filesystem for all that were unpacked since the
    /// last call. Worth calling in the background after an image is complete; without it such layers are fetched
    /// again after a power failure, nothing worse.
    ///
    /// # Errors
    /// The system's; the layers stay usable.
    pub fn settle(&self) -> Result<(), StoreError> {
        let _upkeep = self.0.upkeep.lock().expect("no holder of this lock panics");
        let fresh: Vec<Digest> = self
            .index()
            .layers
            .iter()
            .filter(|(_, marker)| marker.durability != Durability::Durable)
            .map(|(digest, _)| digest.clone())
            .collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let meta = self.0.dir.join("meta");
        let dir = File::open(&meta).map_err(failed("open", &meta))?;
        syncfs(&dir).map_err(failed("flush", &meta))?;
        for diff_id in fresh {
            // An origin may be added meanwhile; a layer may have been collected.
            let _flight = self.0.flights.take(Work::Place(diff_id.clone()));
            let Some(marker) = self.index().layers.get(&diff_id).cloned() else {
                continue;
            };
            let marker = Marker {
                durability: Durability::Durable,
                ..(*marker).clone()
            };
            let draft = self.0.dir.join("tmp").join(format!("{}.durable", diff_id.hex()));
            let path = self.marker_path(&diff_id);
            marker.write(&draft, &path).map_err(failed("mark", &path))?;
            self.index().layers.insert(diff_id, Arc::new(marker));
        }
        dir.sync_all().map_err(failed("flush", &meta))
    }

    /// Bytes of file content in all layers.
    pub fn bytes(&self) -> u64 {
        let index = self.index();
        index.layers.values().map(|marker| marker.info.bytes).sum()
    }

    /// Notes that these layers were in use until now, for the order in which unused ones go.
    pub fn touch(&self, diff_ids: &[Digest]) {
        for diff_id in diff_ids {
            let _ = self.used(diff_id);
        }
    }

    /// The layers nobody has pinned, the one not used for the longest time first.
    pub fn idle(&self) -> Vec<StoredLayer> {
        let mut all = self.layers();
        let index = self.index();
        all.retain(|layer| !index.pins.contains_key(&layer.diff_id));
        drop(index);
        all.sort_by_key(|layer| layer.last_used);
        all
    }

    /// Removes one layer, unless somebody has pinned it meanwhile; the bytes of its files. Takes as long as deleting
    /// them, and holds up nobody who unpacks. Creating files soon after is slow on ext4, so callers with many to
    /// remove pause between them.
    ///
    /// # Errors
    /// The system's. What was not deleted to the end is deleted when the store is opened next.
    pub fn remove(&self, diff_id: &Digest) -> Result<Option<u64>, StoreError> {
        let _upkeep = self.0.upkeep.lock().expect("no holder of this lock panics");
        let Some((bytes, tree)) = self.forget(diff_id)? else {
            return Ok(None);
        };
        // The slow part, with no lock held that an unpacking waits for.
        drop(tree);
        info!(layer = %diff_id, bytes, "unused layer removed");
        Ok(Some(bytes))
    }

    /// Removes unpinned layers, the one not used for the longest time first, until `bytes` are free or none is left:
    /// for an unpacking that found the disk full, which should be tried once more if anything was removed.
    ///
    /// # Errors
    /// As [`Self::remove`].
    pub fn make_room(&self, bytes: u64) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        for layer in self.idle() {
            if removed.bytes >= bytes {
                break;
            }
            if let Some(bytes) = self.remove(&layer.diff_id)? {
                removed.layers += 1;
                removed.bytes += bytes;
            }
        }
        Ok(removed)
    }

    /// Takes a layer out of the store unless it is pinned; its bytes and its directory, moved away.
    fn forget(&self, diff_id: &Digest) -> Result<Option<(u64, Draft)>, StoreError> {
        // Nobody puts the layer here again before its old directory is out of the way.
        let _flight = self.0.flights.take(Work::Place(diff_id.clone()));
        let marker = {
            let mut index = self.index();
            if index.pins.contains_key(diff_id) {
                return Ok(None);
            }
            index.layers.remove(diff_id)
        };
        let Some(marker) = marker else { return Ok(None) };
        let path = self.marker_path(diff_id);
        fs::remove_file(&path).map_err(failed("remove", &path))?;
        crate::graft::forget(&self.0.dir, diff_id).map_err(failed("remove the grafts of", &path))?;
        let tree = Draft::of_removed(&self.0.dir, diff_id, &self.layer_path(diff_id))?;
        Ok(Some((marker.info.bytes, tree)))
    }
}

/// Reads what is complete and removes the rest.
pub(crate) fn sweep(dir: &Path, boot: &str) -> Result<HashMap<Digest, Arc<Marker>>, StoreError> {
    let (layers, meta, tmp) = (dir.join("layers"), dir.join("meta"), dir.join("tmp"));
    for name in names(&tmp)? {
        clear(&tmp, &name)?;
    }
    let mut complete = HashMap::new();
    for name in names(&layers)? {
        let digest = name
            .to_str()
            .and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
        let marker =
            Marker::read(&meta.join(&name)).map_err(failed("read the marker of", &layers.join(&name)))?;
        let valid = marker.filter(|marker| match &marker.durability {
            Durability::Durable => true,
            Durability::ThisBoot(written) => written == boot,
        });
        match (digest, valid) {
            (Some(digest), Some(marker)) => {
                complete.insert(digest, Arc::new(marker));
            }
            _ => {
                warn!(layer = %name.display(), "removing a layer that was not completed");
                clear(&meta, &name)?;
                clear(&layers, &name)?;
            }
        }
    }
    for name in names(&meta)? {
        if !layers.join(&name).is_dir() {
            clear(&meta, &name)?;
        }
    }
    Ok(complete)
}

fn names(dir: &Path) -> Result<Vec<std::ffi::OsString>, StoreError> {
    let entries = fs::read_dir(dir).map_err(failed("list", dir))?;
    let names: io::Result<_> = entries.map(|entry| Ok(entry?.file_name())).collect();
    names.map_err(failed("list", dir))
}

fn clear(dir: &Path, name: &std::ffi::OsStr) -> Result<(), StoreError> {
    let open = File::open(dir).map_err(failed("open", dir))?;
    remove_tree(&open, name.as_encoded_bytes()).map_err(failed("remove", &dir.join(name)))
}

/// Whether a layer could not be unpacked because the disk is full: see [`LayerStore::make_room`].
pub fn lacks_room(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let errno = error
            .downcast_ref::<io::Error>()
            .and_then(rustix::io::Errno::from_io_error);
        if matches!(errno, Some(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)) {
            return true;
        }
        cause = error.source();
    }
    false
}
