//! A store and instances in a temporary directory, cleaned up whatever a test does.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use model::Digest;
use rootfs::{
    AssembleError, IdRange, LayerInfo, LayerStore, Rootfs, RootfsSpec, UnpackError, UnpackLimits, Unpacker,
};
use tempfile::TempDir;

use crate::tars::{Tar, layer, origin};

pub const LIMITS: UnpackLimits = UnpackLimits {
    max_bytes: 64 << 20,
    max_entries: 10_000,
};
pub const RANGE: IdRange = IdRange {
    first_host_id: 300_000,
    size: 65_536,
};

/// The process that unpacks is a program of its own here.
pub fn unpacker() -> Unpacker {
    Unpacker::new(vec![env!("CARGO_BIN_EXE_rootfs-unpack").into()])
}

/// A store with `rootfs` on it, and one instance.
pub struct Room {
    dir: TempDir,
    pub store: LayerStore,
    pub rootfs: Rootfs,
    /// How much an instance may write.
    pub writable_bytes: Option<u64>,
}

impl Room {
    pub fn new() -> Self {
        Self::with(|store| Rootfs::new(store).unwrap())
    }

    pub fn with(make: impl FnOnce(LayerStore) -> Rootfs) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let store = LayerStore::open(&dir.path().join("store"), unpacker()).unwrap();
        fs::write(dir.path().join("outside"), "untouched").unwrap();
        Self {
            rootfs: make(store.clone()),
            store,
            writable_bytes: None,
            dir,
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn instance(&self) -> PathBuf {
        self.path().join("instance")
    }

    pub fn target(&self) -> PathBuf {
        self.path().join("target")
    }

    pub fn try_unpack(&self, tar: Tar) -> Result<LayerInfo, UnpackError> {
        let bytes = tar.bytes();
        self.store.unpack(&layer(&bytes), &origin(), &bytes[..], LIMITS)
    }

    pub fn unpack(&self, tar: Tar) -> Digest {
        let bytes = tar.bytes();
        self.store
            .unpack(&layer(&bytes), &origin(), &bytes[..], LIMITS)
            .unwrap();
        layer(&bytes).diff_id
    }

    /// Where a layer lies on disk.
    pub fn layer_dir(&self, diff_id: &Digest) -> PathBuf {
        self.path().join("store/layers").join(diff_id.hex())
    }

    /// Unpacks one layer and tells where.
    pub fn unpacked(&self, tar: Tar) -> PathBuf {
        let diff_id = self.unpack(tar);
        self.layer_dir(&diff_id)
    }

    pub fn try_assemble(&self, layers: &[Digest]) -> Result<PathBuf, AssembleError> {
        let (instance, target) = (self.instance(), self.target());
        let spec = RootfsSpec {
            layers,
            instance_dir: &instance,
            writable_bytes: self.writable_bytes,
            id_range: RANGE,
            target: &target,
        };
        self.rootfs.assemble(&spec).map(|mounted| mounted.target)
    }

    pub fn assemble(&self, layers: &[Digest]) -> PathBuf {
        self.try_assemble(layers).unwrap()
    }

    pub fn clean(&self) {
        self.rootfs.unmount(&self.target()).unwrap();
        self.rootfs.discard(&self.instance()).unwrap();
    }

    /// Nothing of an instance, an unpacking or a mount is left, and nothing outside was touched.
    pub fn assert_clean(&self) {
        let dir = self.path().to_str().unwrap();
        assert!(
            !fs::read_to_string("/proc/self/mountinfo").unwrap().contains(dir),
            "a mount is left"
        );
        assert_eq!(names(self.path()), ["outside", "store"]);
        assert_eq!(names(&self.path().join("store/tmp")), [""; 0]);
        assert_eq!(
            fs::read_to_string(self.path().join("outside")).unwrap(),
            "untouched"
        );
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = self.rootfs.unmount(&self.target());
        let _ = self.rootfs.discard(&self.instance());
    }
}

pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Everything below `dir` as one line each: kind, mode, owners, size, time, link count, content or target, attributes.
pub fn listing(dir: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(dir).unwrap().display().to_string();
        let kind = meta.file_type();
        let content = if kind.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else if kind.is_file() {
            format!(
                "{} bytes, {} links, {}",
                meta.len(),
                meta.nlink(),
                crate::tars::digest(&fs::read(&path).unwrap())
            )
        } else if kind.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            "dir".to_owned()
        } else {
            format!("fifo {} device {:x}", kind.is_fifo(), meta.rdev())
        };
        let (mode, uid, gid, time) = (meta.mode(), meta.uid(), meta.gid(), meta.mtime());
        all.insert(
            name,
            format!("{mode:o} {uid}:{gid} {time} {content} {:?}", xattrs(&path)),
        );
    }
    all
}

/// Extended attributes, sorted.
pub fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut list = [0u8; 4096];
    let len = rustix::fs::llistxattr(path, &mut list[..]).unwrap();
    let names = list[..len].split(|b| *b == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = [0u8; 4096];
            let len = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..]).unwrap();
            (String::from_utf8(name.to_vec()).unwrap(), value[..len].to_vec())
        })
        .collect()
}
