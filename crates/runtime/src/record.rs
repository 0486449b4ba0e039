//! How a container ended, and the small files of an instance directory.
//!
//! ```text
//! <state dir>/<id>/           0700
//!   config.json   0600        the bundle, written by the daemon, never changed
//!   shim.sock                 answered by the shim while the container exists
//!   log.<sequence number>     0600, segments of output
//!   exit.json                 written by the shim before it ends; its absence with a dead shim means "lost"
//!   shim.err                  what a shim said that failed in an unforeseen way; locked as long as the shim lives
//! ```

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::signal::Signal;

/// Files of an instance directory.
pub mod names {
    /// The bundle.
    pub const CONFIG: &str = "config.json";
    /// The shim's socket.
    pub const SOCKET: &str = "shim.sock";
    /// The exit record.
    pub const EXIT: &str = "exit.json";
    /// The shim's last words.
    pub const COMPLAINTS: &str = "shim.err";
    /// Segments of output start with this.
    pub const LOG_PREFIX: &str = "log.";
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// What ended it.
    pub cause: ExitCause,
    /// Whether the kernel killed something in it for want of memory.
    pub out_of_memory: bool,
    /// When, by the cell's clock.
    pub at: SystemTime,
}

/// What ended a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExitCause {
    /// The program returned this status, 0..=255.
    Status(i32),
    /// The program died of this signal.
    Signal(Signal),
    /// The program never ran, for this reason.
    NotStarted(String),
    /// The shim was killed, and the container with it; nobody saw how the program ended.
    Lost,
}

impl Exit {
    /// The status a shell would show: 128 + n for signal n, 127 for a program never run, 137 for a lost container.
    pub fn code(&self) -> i32 {
        match &self.cause {
            ExitCause::Status(status) => *status,
            ExitCause::Signal(signal) => 128 + signal.number(),
            ExitCause::NotStarted(_) => 127,
            ExitCause::Lost => 128 + Signal::KILL.number(),
        }
    }
}

/// `exit.json`.
#[derive(Debug, Serialize, Deserialize)]
struct ExitRecord {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_started: Option<String>,
    out_of_memory: bool,
    at_unix_nanos: i64,
}

/// Writes the exit record of the instance in `dir`, whole or not at all.
///
/// # Errors
/// When the directory cannot be written.
pub fn write_exit(dir: &Path, exit: &Exit) -> io::Result<()> {
    let mut record = ExitRecord {
        status: None,
        signal: None,
        not_started: None,
        out_of_memory: exit.out_of_memory,
        at_unix_nanos: base::unix_nanos(exit.at),
    };
    match &exit.cause {
        ExitCause::Status(status) => record.status = Some(*status),
        ExitCause::Signal(signal) => record.signal = Some(signal.number()),
        ExitCause::NotStarted(reason) => record.not_started = Some(reason.clone()),
        ExitCause::Lost => {}
    }
    write_whole(&dir.join(names::EXIT), &serde_json::to_vec(&record)?)
}

/// Reads the exit record, if there is one.
///
/// # Errors
/// When it is there but cannot be read or parsed.
pub fn read_exit(dir: &Path) -> io::Result<Option<Exit>> {
    let bytes = match fs::read(dir.join(names::EXIT)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let record: ExitRecord = serde_json::from_slice(&bytes)?;
    let signal = record.signal.and_then(|number| Signal::from_number(number).ok());
    let cause = match (record.not_started, record.status, signal) {
        (Some(reason), _, _) => ExitCause::NotStarted(reason),
        (None, Some(status), _) => ExitCause::Status(status),
        (None, None, Some(signal)) => ExitCause::Signal(signal),
        (None, None, None) => ExitCause::Lost,
    };
    Ok(Some(Exit {
        cause,
        out_of_memory: record.out_of_memory,
        at: time(record.at_unix_nanos),
    }))
}

/// The moment `nanos` after 1970.
pub fn time(nanos: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// Writes a file so that readers see the old content, the new one, but never a part.
pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = PathBuf::from(path);
    temporary.set_extension("tmp");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(content)?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_records_round_trip() {
        let dir = tempfile::tempdir().expect("temp dir");
        assert_eq!(read_exit(dir.path()).expect("readable"), None);
        let at = time(1_700_000_000_000_000_001);
        for (cause, code) in [
            (ExitCause::Status(7), 7),
            (ExitCause::Signal(Signal::KILL), 137),
            (ExitCause::NotStarted("no such program".to_owned()), 127),
            (ExitCause::Lost, 137),
        ] {
            let exit = Exit {
                cause,
                out_of_memory: true,
                at,
            };
            write_exit(dir.path(), &exit).expect("writable");
            assert_eq!(exit.code(), code);
            assert_eq!(read_exit(dir.path()).expect("readable"), Some(exit));
        }
        std::fs::write(dir.path().join(names::EXIT), b"{").expect("writable");
        assert!(read_exit(dir.path()).is_err());
    }
}
