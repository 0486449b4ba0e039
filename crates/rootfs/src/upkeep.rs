//! Upkeep of the store: the sweep when it is opened, durability, collection of unused layers.

use std::collections::{HashMap, HashSet};
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
use crate::store::{LayerStore, failed};

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

    /// Removes every layer that is neither in `keep` nor pinned: the caller keeps what running and wanted instances
    /// use. Deleting right before unpacking is slow on ext4; call it when nothing is being fetched.
    ///
    /// # Errors
    /// The system's. What was not deleted to the end is deleted when the store is opened next.
    pub fn remove_unused(&self, keep: &HashSet<Digest>) -> Result<Removed, StoreError> {
        let _upkeep = self.0.upkeep.lock().expect("no holder of this lock panics");
        let known: Vec<Digest> = self
            .index()
            .layers
            .keys()
            .filter(|digest| !keep.contains(digest))
            .cloned()
            .collect();
        let mut removed = Removed::default();
        for diff_id in known {
            let Some((bytes, tree)) = self.forget(&diff_id)? else {
                continue;
            };
            // The slow part, with no lock held that an unpacking waits for.
            drop(tree);
            info!(layer = %diff_id, bytes, "unused layer removed");
            removed.layers += 1;
            removed.bytes += bytes;
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
