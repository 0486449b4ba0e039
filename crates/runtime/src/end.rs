//! The end of containers: waiting for it, recording it when the shim could not, removing what is left.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open};
use tokio::net::UnixStream;

use crate::error::{Error, file};
use crate::protocol::Request;
use crate::record::{self, Exit, ExitCause};
use crate::runtime::{Inner, Runtime};
use crate::signal::Signal;
use crate::spec::check_id;

/// How long a shim may take from the kill to its own end: reaping a thousand processes, writing the record.
const ENDED_WITHIN: Duration = Duration::from_secs(15);

/// Between two attempts to be told of the end.
const TURNED_AWAY: Duration = Duration::from_millis(1);

impl Runtime {
    /// Waits until the container has ended; at once when it has. Works for containers of earlier daemons too.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, or it is deleted meanwhile.
    pub async fn wait(&self, id: &str) -> Result<Exit, Error> {
        check_id(id)?;
        loop {
            let Some(stream) = self.inner.subscribe(id).await? else {
                break;
            };
            until_closed(&stream).await;
            // Usually the shim has ended; one with too many connections turns this one away.
            tokio::time::sleep(TURNED_AWAY).await;
        }
        self.inner.exit(id).await
    }

    /// Kills the container if it runs, and removes everything derived from its id: processes, control groups, its
    /// directory with the output. The caller's root filesystem and links are not touched. Deleting what does not
    /// exist is fine.
    ///
    /// # Errors
    /// When something could not be removed; calling again goes on.
    pub async fn delete(&self, id: &str) -> Result<(), Error> {
        check_id(id)?;
        self.inner.end_shim(id).await?;
        self.inner.bury_remains(id).await
    }
}

impl Inner {
    /// Makes the shim kill its container and end; kills it if it does not.
    async fn end_shim(&self, id: &str) -> Result<(), Error> {
        let Some(stream) = self.connect(id).await? else {
            return Ok(());
        };
        let shim = match peer(&stream) {
            // It has ended since, and was reaped.
            Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => return Ok(()),
            found => found.map_err(|source| Error::Connection {
                id: id.to_owned(),
                source,
            })?,
        };
        let shim = Arc::new(shim);
        drop(stream);
        // Whether this is understood is seen by the shim's end.
        drop(self.ask(id, &Request::Kill).await);
        if dead(&shim).await? {
            return Ok(());
        }
        tracing::warn!(
            id,
            "the shim did not end after its container was killed; killing it"
        );
        drop(sys::exec::send_signal(shim.as_fd(), Signal::KILL.number()));
        if dead(&shim).await? {
            return Ok(());
        }
        Err(Error::Timeout {
            id: id.to_owned(),
            what: "being killed",
            after: ENDED_WITHIN,
        })
    }

    /// Removes control groups and directory of a container without a shim.
    pub(crate) async fn bury_remains(self: &Arc<Self>, id: &str) -> Result<(), Error> {
        let (inner, id) = (Arc::clone(self), id.to_owned());
        blocking(move || {
            inner.group(&id).remove()?;
            let dir = inner.dir(&id);
            match fs::remove_dir_all(&dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => file(removed, "remove", &dir)?,
            }
            inner.remove_parents();
            Ok(())
        })
        .await
    }

    /// How a container without a shim ended. Without a record its shim was killed: then what is left of it is killed
    /// too, and the record says "lost".
    pub(crate) async fn exit(self: &Arc<Self>, id: &str) -> Result<Exit, Error> {
        let (inner, id) = (Arc::clone(self), id.to_owned());
        blocking(move || {
            let dir = inner.dir(&id);
            if !dir.exists() {
                return Err(Error::NotFound { id });
            }
            match read(&dir)? {
                Some(exit) => Ok(exit),
                None => {
                    let group = inner.group(&id);
                    let out_of_memory = group.oom_kills() > 0;
                    group.remove()?;
                    let exit = Exit {
                        cause: ExitCause::Lost,
                        out_of_memory,
                        at: base::SystemClock.now(),
                    };
                    file(record::write_exit(&dir, &exit), "write the exit record in", &dir)?;
                    Ok(exit)
                }
            }
        })
        .await
    }
}

fn read(dir: &Path) -> Result<Option<Exit>, Error> {
    file(record::read_exit(dir), "read the exit record in", dir)
}

/// Work that may wait for the kernel, off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Waits for the other side to close; whatever it sends until then is thrown away.
async fn until_closed(stream: &UnixStream) {
    let mut unwanted = [0; 512];
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        match stream.try_read(&mut unwanted) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Waits until the process behind a pidfd is dead, and so out of its control groups; false after `ENDED_WITHIN`.
async fn dead(pidfd: &Arc<OwnedFd>) -> Result<bool, Error> {
    let pidfd = Arc::clone(pidfd);
    let within = Timespec {
        tv_sec: ENDED_WITHIN.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    blocking(move || {
        Ok(poll(&mut [PollFd::new(&*pidfd, PollFlags::IN)], Some(&within)).is_ok_and(|ready| ready > 0))
    })
    .await
}

/// A handle on the process at the other end, which cannot be mistaken for another while the connection is open.
fn peer(stream: &UnixStream) -> io::Result<OwnedFd> {
    let credentials = rustix::net::sockopt::socket_peercred(stream)?;
    Ok(pidfd_open(credentials.pid, PidfdFlags::empty())?)
}
