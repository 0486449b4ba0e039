//! What the cell was told and must not forget: one file per instance it holds.
//!
//! The file is a whole record, replaced by rename: a reader sees the old one, the new one, never a part. An accepted
//! spec and an end are also flushed to the disk; the phases between may be lost to a power failure, which ends every
//! container anyway.
//!
//! Records hold the app's environment and, until its layers are here, registry credentials: 0600 in a 0700 directory,
//! never printed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use prost::Message;
use tracing::warn;
use wire::v1::{Exit, InstancePhase, InstanceSpec};

use crate::error::{CellError, file};

const DRAFT: &str = ".draft";
/// Largest record read back, bytes.
const LARGEST: u64 = 16 << 20;

/// One instance, as it is kept. No `Debug`: it holds secrets.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct Record {
    /// What was asked for; never absent in a good record.
    #[prost(message, optional, tag = "1")]
    pub(crate) spec: Option<InstanceSpec>,
    /// First host id of the container's range.
    #[prost(uint32, tag = "2")]
    pub(crate) first_host_id: u32,
    /// Where it was.
    #[prost(enumeration = "InstancePhase", tag = "3")]
    pub(crate) phase: i32,
    /// Whether it was ready.
    #[prost(bool, tag = "4")]
    pub(crate) ready: bool,
    /// Its address, once it had one.
    #[prost(string, tag = "5")]
    pub(crate) address: String,
    /// Since when it was in that phase, nanoseconds since 1970.
    #[prost(int64, tag = "6")]
    pub(crate) since_ns: i64,
    /// How it ended.
    #[prost(message, optional, tag = "7")]
    pub(crate) exit: Option<Exit>,
}

/// How much a write must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The death of this process.
    Process,
    /// The loss of power.
    Power,
}

/// The directory of records. All calls block.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    dir: PathBuf,
}

impl Ledger {
    /// Opens or makes the directory and removes what was being written when an earlier daemon died.
    pub(crate) fn open(dir: &Path) -> Result<Self, CellError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(file("make", dir))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(dir, mode).map_err(file("set the mode of", dir))?;
        let ledger = Self { dir: dir.to_owned() };
        for name in ledger.names()? {
            if name.ends_with(DRAFT) {
                let path = dir.join(name);
                fs::remove_file(&path).map_err(file("remove", &path))?;
            }
        }
        Ok(ledger)
    }

    /// All records, by guid. One that cannot be read is put aside: its container is nobody's and will be removed.
    pub(crate) fn read(&self) -> Result<Vec<(String, Record)>, CellError> {
        let mut records = Vec::new();
        for guid in self.names()? {
            let path = self.dir.join(&guid);
            let known = |record: &Record| {
                record
                    .spec
                    .as_ref()
                    .is_some_and(|spec| spec.instance_guid == guid)
            };
            match read(&path).map_err(file("read", &path))? {
                Some(record) if known(&record) => records.push((guid, record)),
                _ => {
                    warn!(path = %path.display(), "a record of the ledger is damaged; removing it and its container");
                    fs::remove_file(&path).map_err(file("remove", &path))?;
                }
            }
        }
        Ok(records)
    }

    /// Writes the record of `guid`.
    pub(crate) fn write(&self, guid: &str, record: &Record, durability: Durability) -> io::Result<()> {
        let draft = self.dir.join(format!("{guid}{DRAFT}"));
        let mut options = OpenOptions::new();
        let mut open = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        open.write_all(&record.encode_to_vec())?;
        if durability == Durability::Power {
            open.sync_all()?;
        }
        fs::rename(&draft, self.dir.join(guid))?;
        if durability == Durability::Power {
            File::open(&self.dir)?.sync_all()?;
        }
        Ok(())
    }

    /// Removes the record of `guid`; none is fine.
    pub(crate) fn remove(&self, guid: &str) -> io::Result<()> {
        match fs::remove_file(self.dir.join(guid)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn names(&self) -> Result<Vec<String>, CellError> {
        let listed: io::Result<Vec<_>> = fs::read_dir(&self.dir).and_then(Iterator::collect);
        let listed = listed.map_err(file("list", &self.dir))?;
        Ok(listed
            .into_iter()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect())
    }
}

fn read(path: &Path) -> io::Result<Option<Record>> {
    if fs::metadata(path)?.len() > LARGEST {
        return Ok(None);
    }
    Ok(Record::decode(fs::read(path)?.as_slice()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn record(guid: &str) -> Record {
        Record {
            spec: Some(InstanceSpec {
                instance_guid: guid.to_owned(),
                ..InstanceSpec::default()
            }),
            since_ns: 7,
            ..Record::default()
        }
    }

    #[test]
    fn records_come_back_and_are_for_root_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let ledger = Ledger::open(&path).unwrap();
        for durability in [Durability::Process, Durability::Power] {
            ledger.write("a", &record("a"), durability).unwrap();
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("a"))), (0o700, 0o600));
        let read = Ledger::open(&path).unwrap().read().unwrap();
        assert!(read == [("a".to_owned(), record("a"))]);
        ledger.remove("a").unwrap();
        ledger.remove("a").unwrap();
        assert!(ledger.read().unwrap().is_empty());
    }

    #[test]
    fn what_is_torn_or_foreign_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        ledger
            .write("good", &record("good"), Durability::Process)
            .unwrap();
        let whole = fs::read(dir.path().join("good")).unwrap();
        fs::write(dir.path().join("torn"), &whole[..whole.len() - 3]).unwrap();
        fs::write(dir.path().join("empty"), b"").unwrap();
        fs::write(dir.path().join("other"), &whole).unwrap();
        fs::write(dir.path().join("good.draft"), b"half").unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let guids: Vec<String> = ledger.read().unwrap().into_iter().map(|(guid, _)| guid).collect();
        assert_eq!(guids, ["good"]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
