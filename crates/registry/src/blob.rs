//! Blobs on disk: written once, verified while they come, seen only where they are linked.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use model::Digest;
use sha2::{Digest as _, Sha256};

use crate::disk::{Doing, Storage, StorageError, Temp, sync_dir};
use crate::failure::Failure;
use crate::name::Repository;

/// A blob that is still coming in. Dropping it removes the file.
pub(crate) struct Partial {
    temp: Temp,
    hasher: Sha256,
    written: u64,
    most: u64,
}

impl Partial {
    /// An empty one.
    pub(crate) fn new(storage: &Storage) -> Result<Self, StorageError> {
        Ok(Self {
            temp: storage.temp()?,
            hasher: Sha256::new(),
            written: 0,
            most: storage.max_blob_bytes,
        })
    }

    /// Bytes taken so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Appends. After a failed write the count stays where it was, so the same bytes may be sent again.
    pub(crate) fn append(&mut self, chunks: &[Bytes]) -> Result<(), Failure> {
        for chunk in chunks {
            let end = self.written.saturating_add(chunk.len() as u64);
            if end > self.most {
                return Err(Failure::TooLarge(self.most));
            }
            self.temp
                .file
                .write_all_at(chunk, self.written)
                .doing("write", self.temp.path())?;
            self.hasher.update(chunk);
            self.written = end;
        }
        Ok(())
    }

    /// Checks the digest and makes the blob visible in `repository`, durably.
    pub(crate) fn finish(self, storage: &Storage, target: (&Repository, &Digest)) -> Result<(), Failure> {
        let (repository, wanted) = target;
        let actual = Digest::from_sha256(&self.hasher.finalize().into());
        if actual != *wanted {
            return Err(Failure::DigestMismatch {
                wanted: wanted.clone(),
                actual,
            });
        }
        // A write that failed half-way and was not repeated has left bytes that were not counted.
        self.temp
            .file
            .set_len(self.written)
            .doing("truncate", self.temp.path())?;
        self.temp.persist(&storage.blob_path(wanted))?;
        Ok(storage.link(repository, wanted)?)
    }
}

impl Storage {
    /// Size of a blob, if it may be seen in `repository`.
    pub(crate) fn blob_size(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<u64>, StorageError> {
        let (link, path) = (self.link_path(repository, digest), self.blob_path(digest));
        if fs::symlink_metadata(&link).if_exists("look at", &link)?.is_none() {
            return Ok(None);
        }
        Ok(fs::metadata(&path)
            .if_exists("look at", &path)?
            .map(|found| found.len()))
    }

    /// Opens a blob for reading, if it may be seen in `repository`; with its size.
    pub(crate) fn open_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<(File, u64)>, StorageError> {
        if self.blob_size(repository, digest)?.is_none() {
            return Ok(None);
        }
        let path = self.blob_path(digest);
        let Some(file) = File::open(&path).if_exists("open", &path)? else {
            return Ok(None);
        };
        let size = file.metadata().doing("look at", &path)?.len();
        Ok(Some((file, size)))
    }

    /// Makes a blob of `from` visible in `to`; `false` when it is not visible in `from`.
    pub(crate) fn mount(
        &self,
        from: &Repository,
        to: &Repository,
        digest: &Digest,
    ) -> Result<bool, StorageError> {
        if self.blob_size(from, digest)?.is_none() {
            return Ok(false);
        }
        self.link(to, digest).map(|()| true)
    }

    fn link(&self, repository: &Repository, digest: &Digest) -> Result<(), StorageError> {
        self.make_repository(repository)?;
        let link = self.link_path(repository, digest);
        match OpenOptions::new().create_new(true).write(true).open(&link) {
            // Even then synced: whoever made it may not have come that far yet.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => drop(made.doing("create", &link)?),
        }
        link.parent().map_or(Ok(()), sync_dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Settings;

    fn digest(content: &[u8]) -> Digest {
        Digest::from_sha256(&Sha256::digest(content).into())
    }

    fn setup() -> (tempfile::TempDir, Storage, Repository, Repository) {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(Settings {
            max_blob_bytes: 10,
            ..Settings::new(dir.path())
        })
        .unwrap();
        (dir, storage, "a/one".parse().unwrap(), "a/two".parse().unwrap())
    }

    fn push(storage: &Storage, to: &Repository, content: &'static [u8]) {
        let mut partial = Partial::new(storage).unwrap();
        partial.append(&[Bytes::from_static(content)]).unwrap();
        partial.finish(storage, (to, &digest(content))).unwrap();
    }

    #[test]
    fn a_blob_is_seen_only_where_it_was_pushed_or_mounted() {
        let (_dir, storage, one, two) = setup();
        let hello = digest(b"hello");
        push(&storage, &one, b"hello");
        assert_eq!(storage.blob_size(&one, &hello).unwrap(), Some(5));
        assert_eq!(storage.blob_size(&two, &hello).unwrap(), None);
        assert!(storage.open_blob(&two, &hello).unwrap().is_none());
        assert!(!storage.mount(&two, &one, &hello).unwrap());
        assert!(storage.mount(&one, &two, &hello).unwrap());
        assert_eq!(storage.open_blob(&two, &hello).unwrap().unwrap().1, 5);
    }

    #[test]
    fn wrong_or_too_large_content_leaves_nothing() {
        let (dir, storage, one, _) = setup();
        let mut partial = Partial::new(&storage).unwrap();
        partial.append(&[Bytes::from_static(b"other")]).unwrap();
        let refused = partial.finish(&storage, (&one, &digest(b"hello")));
        assert!(matches!(refused, Err(Failure::DigestMismatch { .. })));
        let mut partial = Partial::new(&storage).unwrap();
        assert!(matches!(
            partial.append(&[Bytes::from_static(b"eleven byte")]),
            Err(Failure::TooLarge(10))
        ));
        drop(partial);
        assert_eq!(fs::read_dir(dir.path().join("uploads")).unwrap().count(), 0);
        assert_eq!(storage.blob_size(&one, &digest(b"hello")).unwrap(), None);
    }
}
