//! A layer being unpacked, under a temporary name until it is complete.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use model::Digest;
use tracing::warn;

use crate::UnpackLimits;
use crate::error::{StoreError, UnpackError};
use crate::extract::Extracted;
use crate::marker::Marker;
use crate::remove::{open_child, remove_tree};
use crate::store::failed;
use crate::tree::{set_opaque, set_whited};
use crate::unpacker::Unpacker;

/// Tells apart the temporary names of this process; those of earlier ones are gone when a store is open.
static NAMES: AtomicU64 = AtomicU64::new(0);

/// A directory in the store's `tmp`; removed when dropped, unless kept.
pub(crate) struct Draft {
    tmp: PathBuf,
    name: String,
}

impl Draft {
    /// Makes the empty directory.
    pub(crate) fn new(store: &Path, diff_id: &Digest) -> Result<Self, StoreError> {
        let draft = Self::named(store, diff_id);
        // Without an entry of its own a root directory is like any other, mode 0755.
        fs::create_dir(draft.path()).map_err(failed("create", &draft.path()))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(draft.path(), mode).map_err(failed("set the mode of", &draft.path()))?;
        Ok(draft)
    }

    /// Makes an empty directory that is no layer's.
    pub(crate) fn anonymous(store: &Path) -> Result<Self, StoreError> {
        Self::new(store, &Digest::from_sha256(&[0; 32]))
    }

    /// Moves a layer's directory out of sight; dropping the draft deletes it. Nothing there is fine.
    pub(crate) fn of_removed(store: &Path, diff_id: &Digest, layer: &Path) -> Result<Self, StoreError> {
        let draft = Self::named(store, diff_id);
        match fs::rename(layer, draft.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("move away", layer)(error)),
            _ => Ok(draft),
        }
    }

    fn named(store: &Path, diff_id: &Digest) -> Self {
        let name = format!("{}.{}", diff_id.hex(), NAMES.fetch_add(1, Ordering::Relaxed));
        Self {
            tmp: store.join("tmp"),
            name,
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.tmp.join(&self.name)
    }

    /// Has `blob` unpacked and verifies that its content is `diff_id`.
    pub(crate) fn fill(
        &self,
        diff_id: &Digest,
        blob: impl io::Read,
        limits: UnpackLimits,
        unpacker: &Unpacker,
    ) -> Result<Extracted, UnpackError> {
        let (extracted, actual) = unpacker.run(&self.path(), blob, limits)?;
        if actual != *diff_id {
            return Err(UnpackError::Digest {
                expected: diff_id.clone(),
                actual,
            });
        }
        let tmp = File::open(&self.tmp).map_err(failed("open", &self.tmp))?;
        let root = open_child(&tmp, self.name.as_bytes()).map_err(failed("open", &self.path()))?;
        set_opaque(&root, &extracted.opaque)?;
        set_whited(&root, &extracted.whited)?;
        Ok(extracted)
    }

    /// Gives the layer its final name, then its marker.
    pub(crate) fn keep(self, layer: &Path, marker: &Marker, marker_path: &Path) -> Result<(), StoreError> {
        fs::rename(self.path(), layer).map_err(failed("name", layer))?;
        self.mark(marker, marker_path)
    }

    /// Writes the marker of a layer that has its final name.
    pub(crate) fn mark(&self, marker: &Marker, marker_path: &Path) -> Result<(), StoreError> {
        marker
            .write(&self.tmp.join(format!("{}.marker", self.name)), marker_path)
            .map_err(failed("mark", marker_path))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let removed = File::open(&self.tmp).and_then(|tmp| remove_tree(&tmp, self.name.as_bytes()));
        if let Err(error) = removed {
            warn!(path = %self.path().display(), %error, "cannot remove a temporary layer now; the next start will");
        }
    }
}
