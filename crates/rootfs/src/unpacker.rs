//! The daemon's side of unpacking: starts a process per layer, feeds it the blob, and believes its report as far as
//! the form goes. The process confines itself; see `worker`.
//!
//! A process that dies, is silent for [`PATIENCE`], or eats into what is kept free on the disk is an error and gone;
//! so is one whose daemon dies, since it dies with it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl, fstatvfs};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;

use crate::UnpackLimits;
use crate::error::UnpackError;
use crate::report::{self, Outcome};
use crate::worker::Orders;

/// Longest time the process may neither take nor tell anything. A disk that is flushing can take minutes.
const PATIENCE: Duration = Duration::from_secs(300);
/// Pause between looks at the disk while waiting.
const LOOK: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
/// Blob bytes between looks at the disk while feeding.
const LOOK_BYTES: u64 = 16 << 20;
/// Bytes moved at a time.
const CHUNK: usize = 256 << 10;
/// Room of the pipe, bytes: as much as an unprivileged process may ask for.
const PIPE: usize = 1 << 20;

/// What must stay free on the disk of the store, so that a layer never takes the host's last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// Percent of the file system's size.
    pub percent: u8,
    /// Bytes; the smaller of the two counts.
    pub bytes: u64,
}

impl Default for Reserve {
    /// 5 % or 512 MiB.
    fn default() -> Self {
        Self {
            percent: 5,
            bytes: 512 << 20,
        }
    }
}

/// How layers are unpacked: by a process of this program, confined to the one directory it fills.
#[derive(Clone, Debug)]
pub struct Unpacker {
    command: Vec<OsString>,
    reserve: Reserve,
    /// Shared by all such processes: what lives in it has no right over another that its filter would not refuse.
    namespace: Arc<Mutex<Option<Arc<OwnedFd>>>>,
}

impl Unpacker {
    /// `command` runs [`crate::unpack_main`] with what is appended: `["/proc/self/exe", "unpack"]` for a binary that
    /// is its own.
    pub fn new(command: Vec<OsString>) -> Self {
        Self {
            command,
            reserve: Reserve::default(),
            namespace: Arc::default(),
        }
    }

    /// With another reserve than the default.
    #[must_use]
    pub fn keeping_free(self, reserve: Reserve) -> Self {
        Self { reserve, ..self }
    }

    /// Unpacks `blob` into `draft`, an empty directory. `blob` is read to its end unless the layer is refused before.
    pub(crate) fn run(&self, draft: &Path, mut blob: impl Read, limits: UnpackLimits) -> Outcome {
        let disk = Disk::new(draft, self.reserve)?;
        disk.check(disk.reserve)?;
        let outcome = self.start(draft, limits, &disk).and_then(|(mut worker, pipes)| {
            worker.feed(&mut blob, pipes.blob, &disk)?;
            let message = worker.listen(pipes.report, &disk)?;
            match report::decode(&message) {
                Some(outcome) => outcome,
                None => Err(worker.end()),
            }
        });
        outcome.map_err(|error| disk.explain(error))
    }

    fn start(&self, draft: &Path, limits: UnpackLimits, disk: &Disk) -> Result<(Worker, Pipes), UnpackError> {
        let fail = |step| move |source: io::Error| UnpackError::Confine { step, source };
        let namespace = self.namespace().map_err(fail("get a user namespace"))?;
        let parent = std::process::id();
        let orders = Orders {
            namespace: format!("/proc/{parent}/fd/{}", namespace.as_raw_fd()).into(),
            parent,
            limits,
            reserve: disk.reserve,
        };
        let (its, ours) = Pipes::new().map_err(fail("get pipes"))?;
        let (program, args) = self
            .command
            .split_first()
            .ok_or_else(|| fail("be run without a command")(io::ErrorKind::NotFound.into()))?;
        let mut command = Command::new(program);
        command
            .args(args)
            .args(orders.args())
            .env_clear()
            .current_dir(draft);
        command.stdin(its.blob).stdout(its.report).stderr(Stdio::null());
        // Ctrl-C in the daemon's terminal is for the daemon.
        let child = command.process_group(0).spawn().map_err(fail("be run"))?;
        let worker = Worker {
            child,
            _namespace: namespace,
        };
        Ok((worker, ours))
    }

    fn namespace(&self) -> io::Result<Arc<OwnedFd>> {
        let mut cached = self.namespace.lock().expect("no holder of this lock panics");
        if let Some(namespace) = &*cached {
            return Ok(Arc::clone(namespace));
        }
        let made = Arc::new(sys::userns::identical_user_namespace()?);
        *cached = Some(Arc::clone(&made));
        Ok(made)
    }
}

/// One side's ends of the two pipes.
struct Pipes {
    blob: OwnedFd,
    report: OwnedFd,
}

impl Pipes {
    /// The process's, ours.
    fn new() -> io::Result<(Self, Self)> {
        let (blob, feed) = pipe_with(PipeFlags::CLOEXEC)?;
        let (hear, report) = pipe_with(PipeFlags::CLOEXEC)?;
        // A smaller pipe is only slower.
        let _ = fcntl_setpipe_size(&feed, PIPE);
        for end in [&feed, &hear] {
            fcntl_setfl(end, fcntl_getfl(end)? | OFlags::NONBLOCK)?;
        }
        let its = Self { blob, report };
        let ours = Self {
            blob: feed,
            report: hear,
        };
        Ok((its, ours))
    }
}

/// The process; killed and reaped when dropped.
struct Worker {
    child: Child,
    /// The process opens it by the number it has here.
    _namespace: Arc<OwnedFd>,
}

impl Worker {
    /// Gives it the whole blob, or as much as it takes: it says why in its report.
    fn feed(&mut self, blob: &mut impl Read, pipe: OwnedFd, disk: &Disk) -> Result<(), UnpackError> {
        let mut chunk = vec![0; CHUNK];
        let mut since = 0;
        loop {
            let len = match blob.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(UnpackError::Read(error)),
            };
            let mut piece = chunk.get(..len).unwrap_or_default();
            while !piece.is_empty() {
                match rustix::io::write(&pipe, piece) {
                    Ok(written) => piece = piece.get(written..).unwrap_or_default(),
                    Err(Errno::AGAIN) => wait_for(pipe.as_fd(), PollFlags::OUT, disk)?,
                    Err(Errno::INTR) => {}
                    Err(Errno::PIPE) => return Ok(()),
                    Err(errno) => return Err(broken(errno)),
                }
            }
            since += len as u64;
            if since >= LOOK_BYTES {
                since = 0;
                disk.check(disk.reserve / 2)?;
            }
        }
    }

    fn listen(&mut self, pipe: OwnedFd, disk: &Disk) -> Result<Vec<u8>, UnpackError> {
        let (mut message, mut chunk) = (Vec::new(), vec![0; CHUNK]);
        while message.len() <= report::MAX_BYTES {
            match rustix::io::read(&pipe, &mut chunk[..]) {
                Ok(0) => return Ok(message),
                Ok(len) => message.extend_from_slice(chunk.get(..len).unwrap_or_default()),
                Err(Errno::AGAIN) => wait_for(pipe.as_fd(), PollFlags::IN, disk)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(broken(errno)),
            }
        }
        Err(UnpackError::Worker {
            how: "reported more than there can be".to_owned(),
        })
    }

    /// Why there is no report.
    fn end(&mut self) -> UnpackError {
        let ended = Pid::from_raw(self.child.id().cast_signed())
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            .is_some_and(|pidfd| {
                let patience = Timespec {
                    tv_sec: 10,
                    tv_nsec: 0,
                };
                poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience)) == Ok(1)
            });
        let status = if ended { self.child.wait().ok() } else { None };
        UnpackError::Worker {
            how: status.map_or_else(|| "reported nothing".to_owned(), how_it_ended),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself; it is reaped in any case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn how_it_ended(status: ExitStatus) -> String {
    let Some(signal) = status.signal() else {
        return format!(
            "ended with status {} and without a report",
            status.code().unwrap_or(0)
        );
    };
    let why = match signal {
        6 => "SIGABRT: it needed more memory than it may have",
        9 => "SIGKILL: by the system for lack of memory, or by somebody",
        24 => "SIGXCPU: it needed more CPU time than it may have",
        31 => "SIGSYS: it asked for something it may not do",
        _ => "no known reason",
    };
    format!("was killed by signal {signal} ({why})")
}

/// Waits until `pipe` is ready, with an eye on the disk.
fn wait_for(pipe: BorrowedFd<'_>, event: PollFlags, disk: &Disk) -> Result<(), UnpackError> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        match poll(&mut [PollFd::from_borrowed_fd(pipe, event)], Some(&LOOK)) {
            Ok(0) => disk.check(disk.reserve / 2)?,
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(broken(errno)),
        }
    }
    Err(UnpackError::Worker {
        how: format!("made no progress for {} seconds", PATIENCE.as_secs()),
    })
}

fn broken(errno: Errno) -> UnpackError {
    UnpackError::Worker {
        how: format!("cannot be spoken to: {}", io::Error::from(errno)),
    }
}

/// The disk a draft is on.
struct Disk {
    draft: File,
    path: std::path::PathBuf,
    /// Bytes.
    reserve: u64,
}

impl Disk {
    fn new(draft: &Path, reserve: Reserve) -> Result<Self, UnpackError> {
        let fail = |action| crate::store::failed::<io::Error>(action, draft);
        let open = File::open(draft).map_err(fail("open"))?;
        let stat = fstatvfs(&open).map_err(|errno| fail("look at the disk of")(errno.into()))?;
        let share = stat.f_blocks.saturating_mul(stat.f_frsize) / 100 * u64::from(reserve.percent);
        Ok(Self {
            draft: open,
            // The store, two levels up, is what an operator knows.
            path: draft.ancestors().nth(2).unwrap_or(draft).to_owned(),
            reserve: share.min(reserve.bytes),
        })
    }

    /// Bytes and inodes free.
    fn free(&self) -> (u64, u64) {
        fstatvfs(&self.draft).map_or((0, 0), |stat| {
            (stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_favail)
        })
    }

    /// An error when less than `least` bytes are free.
    fn check(&self, least: u64) -> Result<(), UnpackError> {
        let (free_bytes, _) = self.free();
        if free_bytes >= least {
            return Ok(());
        }
        Err(self.short_of(free_bytes))
    }

    fn short_of(&self, free_bytes: u64) -> UnpackError {
        UnpackError::DiskReserve {
            dir: self.path.clone(),
            free_bytes,
            reserve_bytes: self.reserve,
            source: Errno::NOSPC.into(),
        }
    }

    /// Says of an error for lack of room how much there is.
    fn explain(&self, error: UnpackError) -> UnpackError {
        let (free_bytes, free_inodes) = self.free();
        match error {
            UnpackError::DiskReserve { dir, .. } if dir.as_os_str().is_empty() => self.short_of(free_bytes),
            UnpackError::Entry { source, .. }
                if matches!(Errno::from_io_error(&source), Some(Errno::NOSPC | Errno::DQUOT)) =>
            {
                UnpackError::DiskFull {
                    dir: self.path.clone(),
                    free_bytes,
                    free_inodes,
                    source,
                }
            }
            error => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_reserve_counts() {
        let dir = tempfile::tempdir().unwrap();
        let disk = |percent, bytes| Disk::new(dir.path(), Reserve { percent, bytes }).unwrap().reserve;
        assert_eq!(disk(0, 1), 0);
        assert_eq!(disk(100, 1), 1);
        assert!(disk(1, u64::MAX) > 0);
    }

    #[test]
    fn a_death_is_told_by_its_signal() {
        assert_eq!(
            how_it_ended(ExitStatus::from_raw(31)),
            "was killed by signal 31 (SIGSYS: it asked for something it may not do)"
        );
        assert_eq!(
            how_it_ended(ExitStatus::from_raw(1 << 8)),
            "ended with status 1 and without a report"
        );
    }
}
