//! The data directory: made private, held by one platform at a time, and the source of the platform's tag.
//!
//! ```text
//! lock              held while a platform runs; its content is the holder's process id
//! admin-password    generated password of the user admin
//! keys/             token signing key, sealing key, the platform's CA
//! db.sqlite         desired and actual state
//! cell/             layers, instances, ledger
//! registry/         blobs of the own registry
//! run/              sockets between the roles
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};

/// Longest path of a Unix socket, bytes (unix(7), `sun_path` with its final zero).
const LONGEST_SOCKET: usize = 107;

/// The directory, held.
pub struct DataDir {
    path: PathBuf,
    lock: File,
}

/// Who holds a data directory.
pub enum Holder {
    /// Nobody.
    Nobody,
    /// A running platform with this process id.
    Process(i32),
}

impl DataDir {
    /// Makes the directory where it is missing and holds it.
    ///
    /// # Errors
    /// When another platform holds it, or it cannot be made private.
    pub fn hold(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        if path.join("run/routes.sock").as_os_str().len() > LONGEST_SOCKET {
            bail!("--data-dir {shown} is too long a path for the sockets in it; choose a shorter one");
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot make the data directory {shown}"))?;
        let metadata = fs::metadata(path).with_context(|| format!("cannot look at {shown}"))?;
        if metadata.uid() != 0 {
            bail!(
                "the data directory {shown} belongs to user {}; it must be root's: chown root {shown}",
                metadata.uid()
            );
        }
        let path = path
            .canonicalize()
            .with_context(|| format!("cannot find {shown}"))?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .with_context(|| format!("cannot use the data directory {shown}"))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _ = lock.read_to_string(&mut pid);
            bail!(
                "the data directory {shown} is in use by process {}; stop it, or choose another with --data-dir",
                pid.trim()
            );
        }
        lock.set_len(0)?;
        lock.rewind()?;
        write!(lock, "{}", std::process::id())?;
        let held = Self { path, lock };
        held.private("keys")?;
        held.private("run")?;
        held.private("registry")?;
        Ok(held)
    }

    fn private(&self, name: &str) -> anyhow::Result<()> {
        let path = self.path.join(name);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        Ok(())
    }

    /// A path below the directory.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets go of the directory, for whoever removes it.
    pub fn release(self) -> PathBuf {
        drop(self.lock);
        self.path
    }
}

/// Looks whether a platform runs on a directory.
pub fn holder(path: &Path) -> anyhow::Result<Holder> {
    let Ok(mut lock) = File::open(path.join("lock")) else {
        return Ok(Holder::Nobody);
    };
    if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared).is_ok() {
        return Ok(Holder::Nobody);
    }
    let mut text = String::new();
    lock.read_to_string(&mut text)?;
    let pid = text
        .trim()
        .parse()
        .context("the lock file does not name its holder")?;
    Ok(Holder::Process(pid))
}

/// Six letters that name this platform's kernel objects, derived from the directory so that they need no memory.
pub fn tag(path: &Path) -> String {
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    hex::encode(digest).chars().take(6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_platform_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        assert!(matches!(holder(&path).unwrap(), Holder::Nobody));
        let held = DataDir::hold(&path).unwrap();
        let error = DataDir::hold(&path).err().unwrap().to_string();
        assert!(
            error.contains(&format!("in use by process {}", std::process::id())),
            "{error}"
        );
        assert!(
            matches!(holder(&path).unwrap(), Holder::Process(pid) if pid == std::process::id().cast_signed())
        );
        drop(held);
        assert!(DataDir::hold(&path).is_ok());
    }

    #[test]
    fn tags_differ_by_directory() {
        assert_ne!(tag(Path::new("/a")), tag(Path::new("/b")));
        assert_eq!(tag(Path::new("/a")).len(), 6);
    }
}
