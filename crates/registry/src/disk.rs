//! The data directory: where things lie, and how a file gets there whole or not at all.
//!
//! ```text
//! lock                                   held while a process uses the directory
//! uploads/<uuid>                         unfinished files; removed when opened
//! blobs/sha256/ab/<hex>                  content, once for all repositories
//! repositories/<name with + for />/
//!     blobs/<hex>                        empty: this blob may be seen here
//!     manifests/<hex>, <hex>.type        a manifest and its media type
//!     tags/<tag>                         the digest it points to
//! ```
//!
//! Every file is written under `uploads/`, synced, renamed, and its directory synced. What refers comes after what it
//! refers to (blob, link, manifest type, manifest, tag), so a crash leaves at most something nobody refers to yet.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use model::Digest;
use uuid::Uuid;

use crate::name::{Repository, Tag};

/// Where and how much.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Data directory; made when missing.
    pub dir: PathBuf,
    /// Largest blob accepted, in bytes.
    pub max_blob_bytes: u64,
}

impl Settings {
    /// Settings for `dir`, with blobs of up to 32 GiB.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            max_blob_bytes: 32 << 30,
        }
    }
}

/// An opened data directory. One process may hold it at a time.
#[derive(Debug)]
pub struct Storage {
    root: PathBuf,
    pub(crate) max_blob_bytes: u64,
    /// Locked as long as it is open.
    _lock: File,
}

/// A data directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds it.
    #[error("the registry's directory {} is in use by another process; stop it or choose another directory", .0.display())]
    InUse(PathBuf),
    /// It cannot be prepared.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// An operation on a file that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}", path.display())]
pub struct StorageError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl StorageError {
    pub(crate) fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Says what was being done to which file when an operation failed.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, StorageError>;
    /// Like `doing`, with `None` for a file that is not there.
    fn if_exists(self, doing: &'static str, path: &Path) -> Result<Option<T>, StorageError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, StorageError> {
        self.map_err(|source| StorageError {
            doing,
            path: path.to_owned(),
            source,
        })
    }

    fn if_exists(self, doing: &'static str, path: &Path) -> Result<Option<T>, StorageError> {
        match self {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result.doing(doing, path).map(Some),
        }
    }
}

/// An unfinished file; removed when dropped.
#[derive(Debug)]
pub(crate) struct Temp {
    path: PathBuf,
    pub(crate) file: File,
}

impl Storage {
    /// Opens or creates the directory and removes what an earlier process left unfinished.
    ///
    /// # Errors
    /// When another process holds the directory, or it cannot be written.
    pub fn open(settings: Settings) -> Result<Self, OpenError> {
        let root = settings.dir;
        make_dir(&root)?;
        let path = root.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .doing("open", &path)?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(root)),
            Err(TryLockError::Error(error)) => Err(error).doing("lock", &path)?,
            Ok(()) => {}
        }
        let storage = Self {
            root,
            max_blob_bytes: settings.max_blob_bytes,
            _lock: lock,
        };
        storage.prepare()?;
        Ok(storage)
    }

    fn prepare(&self) -> Result<(), StorageError> {
        let uploads = self.uploads();
        fs::remove_dir_all(&uploads).if_exists("empty", &uploads)?;
        make_dir(&uploads)?;
        make_dir(&self.root.join("repositories"))?;
        let blobs = self.root.join("blobs/sha256");
        for first in 0..=u8::MAX {
            make_dir(&blobs.join(format!("{first:02x}")))?;
        }
        for dir in [&blobs, &self.root.join("blobs"), &self.root] {
            sync_dir(dir)?;
        }
        Ok(())
    }

    fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// Where the content of a blob lies.
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let first = hex.get(..2).unwrap_or("00");
        self.root.join("blobs/sha256").join(first).join(hex)
    }

    pub(crate) fn repository_dir(&self, repository: &Repository) -> PathBuf {
        self.root.join("repositories").join(repository.dir_name())
    }

    pub(crate) fn link_path(&self, repository: &Repository, digest: &Digest) -> PathBuf {
        self.repository_dir(repository).join("blobs").join(digest.hex())
    }

    pub(crate) fn manifest_path(&self, repository: &Repository, digest: &Digest) -> PathBuf {
        self.repository_dir(repository)
            .join("manifests")
            .join(digest.hex())
    }

    pub(crate) fn tag_path(&self, repository: &Repository, tag: &Tag) -> PathBuf {
        self.repository_dir(repository).join("tags").join(tag.as_str())
    }

    /// Makes the directories of a repository that does not exist yet.
    pub(crate) fn make_repository(&self, repository: &Repository) -> Result<(), StorageError> {
        let dir = self.repository_dir(repository);
        // Made last, hence a sign that the others are there and on disk.
        let last = dir.join("tags");
        if last.is_dir() {
            return Ok(());
        }
        for part in ["blobs", "manifests"] {
            make_dir(&dir.join(part))?;
        }
        sync_dir(&dir)?;
        sync_dir(&self.root.join("repositories"))?;
        make_dir(&last)?;
        sync_dir(&dir)
    }

    /// A new unfinished file.
    pub(crate) fn temp(&self) -> Result<Temp, StorageError> {
        let path = self.uploads().join(Uuid::new_v4().to_string());
        let file = OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&path)
            .doing("create", &path)?;
        Ok(Temp { path, file })
    }

    /// Puts a small file in place, replacing what was there.
    pub(crate) fn write(&self, path: &Path, content: &[u8]) -> Result<(), StorageError> {
        let mut temp = self.temp()?;
        temp.file.write_all(content).doing("write", path)?;
        temp.persist(path)
    }
}

impl Temp {
    /// Where it is written meanwhile.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the content durable under its final name, replacing what was there.
    pub(crate) fn persist(self, path: &Path) -> Result<(), StorageError> {
        self.file.sync_all().doing("sync", &self.path)?;
        fs::rename(&self.path, path).doing("put in place", path)?;
        path.parent().map_or(Ok(()), sync_dir)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        // After `persist` there is nothing under this name; a leftover is removed at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes a directory and those above it for our eyes only; one that exists is left as it is.
fn make_dir(path: &Path) -> Result<(), StorageError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .doing("create directory", path)
}

/// Makes names added to a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), StorageError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .doing("sync directory", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_holder_and_no_leftovers() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings::new(dir.path().join("registry"));
        let storage = Storage::open(settings.clone()).unwrap();
        assert!(matches!(
            Storage::open(settings.clone()),
            Err(OpenError::InUse(_))
        ));
        std::mem::forget(storage.temp().unwrap());
        assert_eq!(fs::read_dir(storage.uploads()).unwrap().count(), 1);
        drop(storage);
        let again = Storage::open(settings).unwrap();
        assert_eq!(fs::read_dir(again.uploads()).unwrap().count(), 0);
    }

    #[test]
    fn an_unusable_directory_is_named() {
        let error = Storage::open(Settings::new("/proc/registry")).unwrap_err();
        assert!(error.to_string().contains("/proc/registry"), "{error}");
    }
}
