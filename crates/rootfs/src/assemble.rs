//! A root filesystem for an instance: layers below, a writable directory above, owners translated.
//!
//! Ownership, decided once: layers keep the owners of the image on disk. A detached view of the store, id-mapped
//! `0..size → first_host_id..`, is what the overlay has below, so it sees image owner N as host id first + N. The
//! upper directory is not mapped: what the container makes or copies up is owned by first + N on disk. The overlay
//! belongs to the host's user namespace, so a process in a namespace with the same map sees N everywhere, `chown`
//! inside works, and a file capability of a layer counts for that namespace's root and for nobody else. Owners of an
//! image outside `0..size` appear as nobody, and such files cannot be copied up.
//!
//! Every mount is detached until it is complete; moving it onto the target is the last step. A crash before leaves
//! directories (see `discard`), a crash after leaves a complete root filesystem.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use model::Digest;
use sys::mount::idmapped_view;
use sys::userns::{IdExtent, user_namespace};
use tracing::debug;

use crate::error::{AssembleError, UsageError};
use crate::graft;
use crate::inherit::{self, Lower};
use crate::instance::{self, Dirs};
use crate::overlay::{self, Method};
use crate::quota::Quota;
use crate::store::LayerStore;
use crate::tree::is_opaque;

/// User namespaces kept open; one more or less costs 0.2 ms.
const KEPT_NAMESPACES: usize = 128;

/// The host ids of one instance: id N inside is `first_host_id + N` outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdRange {
    /// Host id of the container's root, above 0.
    pub first_host_id: u32,
    /// How many ids, usually 65,536.
    pub size: u32,
}

/// What to assemble.
#[derive(Clone, Copy, Debug)]
pub struct RootfsSpec<'a> {
    /// Diff ids, bottom first; repeated and no layers are fine.
    pub layers: &'a [Digest],
    /// The instance's own directory: made if missing (its parent must exist), on the filesystem that should hold what
    /// the instance writes.
    pub instance_dir: &'a Path,
    /// How much the instance may write, bytes; `None` for no bound of its own. Without a quota driver there is none.
    pub writable_bytes: Option<u64>,
    /// Owners of the instance.
    pub id_range: IdRange,
    /// Where the root filesystem appears; made if missing (its parent must exist, and be 0711 or wider up to the
    /// root, or the container's root cannot reach it).
    pub target: &'a Path,
}

/// An assembled root filesystem. It stays when this is dropped, and outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Where it is mounted, read-write.
    pub target: PathBuf,
}

/// Assembles root filesystems from the layers of a store. Clones share it. All calls block.
#[derive(Clone, Debug)]
pub struct Rootfs {
    store: LayerStore,
    method: Method,
    quota: Quota,
    namespaces: Arc<Mutex<VecDeque<Namespace>>>,
}

/// A user namespace, by the range it maps.
type Namespace = (IdRange, Arc<OwnedFd>);

impl Rootfs {
    /// Looks at what this kernel offers.
    ///
    /// # Errors
    /// When it has no overlay filesystem or the process may not mount.
    pub fn new(store: LayerStore) -> Result<Self, AssembleError> {
        Ok(Self {
            store,
            method: overlay::probe()?,
            quota: Quota::default(),
            namespaces: Arc::default(),
        })
    }

    /// As [`Self::new`], but mounts the way kernels before 6.13 need it, whatever this one offers.
    #[doc(hidden)]
    #[must_use]
    pub fn with_path_mounts(store: LayerStore) -> Self {
        Self {
            store,
            method: Method::Paths,
            quota: Quota::default(),
            namespaces: Arc::default(),
        }
    }

    /// With a bound on what instances write.
    #[must_use]
    pub fn with_quota(self, quota: Quota) -> Self {
        Self { quota, ..self }
    }

    /// Makes the root filesystem and mounts it on the target, with private propagation.
    ///
    /// # Errors
    /// [`AssembleError::Leftover`] when the instance has one already; the rest see there. What was made is undone.
    pub fn assemble(&self, spec: &RootfsSpec<'_>) -> Result<Mounted, AssembleError> {
        check_range(spec.id_range)?;
        let _pin = self.store.pin(spec.layers);
        let lowers = graft::complete(&self.store, self.lowers(spec.layers)?)?;
        let root = inherit::root(&lowers).map_err(AssembleError::mounting("read the root of the layers"))?;
        let root = root.shifted(spec.id_range);
        let dirs = Dirs::create(&self.quota, spec.instance_dir, spec.writable_bytes, &root)?;
        let target = instance::Target::prepare(spec.target)?;
        let namespace = self.namespace(spec.id_range)?;
        let (source, names) = self.source(&lowers);
        let source = File::open(&source).map_err(AssembleError::io("open", &source))?;
        let view = idmapped_view(&source, namespace.as_fd()).map_err(AssembleError::mounting(
            "id-map the layer store (is its filesystem ext4, xfs or btrfs?)",
        ))?;
        let merged = overlay::mount(
            self.method,
            &overlay::Stack {
                view,
                names: &names,
                dirs: &dirs,
            },
        )?;
        inherit::apply(&lowers, merged.as_fd(), spec.id_range).map_err(AssembleError::mounting(
            "set attributes of directories the top layers only imply",
        ))?;
        overlay::attach(&merged, &target)?;
        debug!(target = %spec.target.display(), layers = lowers.len(), "root filesystem assembled");
        dirs.keep();
        target.keep();
        Ok(Mounted {
            target: spec.target.to_owned(),
        })
    }

    /// Takes the root filesystem off `target` and removes the empty directory. Nothing there is fine. Processes that
    /// still use it keep it until they end.
    ///
    /// # Errors
    /// The system's.
    pub fn unmount(&self, target: &Path) -> Result<(), AssembleError> {
        instance::unmount(target)
    }

    /// Removes what the instance wrote, and its directory if nothing else is in it. Call it after [`Self::unmount`].
    /// Nothing there is fine; what an interrupted `assemble` or `discard` left goes too.
    ///
    /// # Errors
    /// The system's.
    pub fn discard(&self, instance_dir: &Path) -> Result<(), AssembleError> {
        instance::discard(instance_dir)
    }

    /// Bytes on disk that the instance has written, hard links counted once; 0 when there is no instance. Cheap for one
    /// that a quota bounds, a walk of all files for any other.
    ///
    /// # Errors
    /// [`UsageError::TooDeep`] or [`UsageError::TooManyEntries`] for trees no honest instance makes.
    pub fn usage(&self, instance_dir: &Path, target: &Path) -> Result<u64, UsageError> {
        crate::usage::usage(instance_dir, target)
    }

    /// The layers to stack, top first. Of a layer that comes twice only the upper one counts: it repeats all the
    /// lower one says, and the kernel refuses to stack a directory on itself.
    fn lowers(&self, layers: &[Digest]) -> Result<Vec<Lower>, AssembleError> {
        let mut seen = HashSet::new();
        let top_first = layers.iter().rev().filter(|digest| seen.insert(*digest));
        top_first
            .map(|digest| {
                let marker = self
                    .store
                    .used(digest)
                    .ok_or_else(|| AssembleError::MissingLayer(digest.clone()))?;
                Ok(Lower {
                    dir: self.store.layer_path(digest),
                    name: format!("layers/{}", digest.hex()),
                    marker,
                })
            })
            .collect()
    }

    /// The directory to view, and the names in it of the directories to stack, top first.
    fn source<'a>(&self, lowers: &'a [Lower]) -> (PathBuf, Vec<&'a str>) {
        if lowers.is_empty() {
            // An overlay needs something below.
            return (self.store.0.dir.clone(), vec!["empty"]);
        }
        // The kernel does not ask the root of a layer whether it hides those below.
        let hides = |lower: &Lower| File::open(&lower.dir).is_ok_and(|dir| is_opaque(&dir.into()));
        let last = lowers.iter().position(hides).unwrap_or(lowers.len());
        let names = lowers.iter().take(last + 1).map(|lower| lower.name.as_str());
        (self.store.0.dir.clone(), names.collect())
    }

    /// A user namespace with the range's map; the last ones used are kept.
    fn namespace(&self, range: IdRange) -> Result<Arc<OwnedFd>, AssembleError> {
        let kept = || self.namespaces.lock().expect("no holder of this lock panics");
        if let Some((_, namespace)) = kept().iter().find(|(known, _)| *known == range) {
            return Ok(Arc::clone(namespace));
        }
        let extent = [IdExtent {
            inside: 0,
            outside: range.first_host_id,
            count: range.size,
        }];
        let made =
            user_namespace(&extent, &extent).map_err(AssembleError::mounting("make a user namespace"))?;
        let made = Arc::new(made);
        let mut kept = kept();
        kept.push_back((range, Arc::clone(&made)));
        if kept.len() > KEPT_NAMESPACES {
            kept.pop_front();
        }
        Ok(made)
    }
}

/// The top id is not usable: it means "none" to the kernel.
fn check_range(
    IdRange {
        first_host_id: first,
        size,
    }: IdRange,
) -> Result<(), AssembleError> {
    let fits = first.checked_add(size).is_some();
    if first > 0 && size > 0 && fits {
        Ok(())
    } else {
        Err(AssembleError::IdRange { first, size })
    }
}

impl AssembleError {
    /// For `map_err` on a step of mounting.
    pub(crate) fn mounting<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Mount {
            step,
            message: String::new(),
            source: source.into(),
        }
    }

    /// For `map_err` on an operation on a directory of the instance.
    pub(crate) fn io<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source: source.into(),
        }
    }
}

/// Removes a directory if it is empty; one that is missing or in use stays as it is.
pub(crate) fn remove_if_empty(path: &Path) {
    // Somebody else's files, or another mount, are a good reason for it to stay.
    let _ = fs::remove_dir(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_never_reach_host_root_nor_the_top() {
        for (first_host_id, size, fine) in [
            (1, 1, true),
            (100_000, 65_536, true),
            (0, 65_536, false),
            (5, 0, false),
            (u32::MAX - 1, 1, true),
            (u32::MAX, 1, false),
        ] {
            assert_eq!(
                check_range(IdRange { first_host_id, size }).is_ok(),
                fine,
                "{first_host_id}+{size}"
            );
        }
    }
}
