//! Talking to a container's shim.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::error::Error;
use crate::protocol::{LONGEST_LINE, Reply, Request};
use crate::record::names;
use crate::runtime::Inner;
use crate::spec::check_id;

/// A shim answers in microseconds, but the program's exec may have to read a cold disk.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How long a living shim may take to listen, or to be gone.
const LISTENING_WITHIN: Duration = Duration::from_secs(15);
const LISTENING_STEP: Duration = Duration::from_millis(2);

impl Inner {
    /// Asks the shim; an error when the container has ended, or the shim says no.
    pub(crate) async fn request(&self, id: &str, request: &Request) -> Result<Reply, Error> {
        check_id(id)?;
        let Some(reply) = self.ask(id, request).await? else {
            if !self.dir(id).exists() {
                return Err(Error::NotFound { id: id.to_owned() });
            }
            return Err(Error::State {
                id: id.to_owned(),
                reason: "it has ended".to_owned(),
            });
        };
        match reply.error {
            Some(reason) if reply.start_failed => Err(Error::Start { reason }),
            Some(reason) => Err(Error::State {
                id: id.to_owned(),
                reason,
            }),
            None => Ok(reply),
        }
    }

    /// Asks the shim; `None` when there is none any more.
    pub(crate) async fn ask(&self, id: &str, request: &Request) -> Result<Option<Reply>, Error> {
        let Some(stream) = self.connect(id).await? else {
            return Ok(None);
        };
        let exchange = tokio::time::timeout(ANSWER_WITHIN, exchange(stream, request));
        match exchange.await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(source)) => Err(Error::Connection {
                id: id.to_owned(),
                source,
            }),
            Err(_) => Err(Error::Timeout {
                id: id.to_owned(),
                what: "a request",
                after: ANSWER_WITHIN,
            }),
        }
    }

    /// A connection that tells of new output and of the shim's end; `None` when it has ended.
    pub(crate) async fn subscribe(&self, id: &str) -> Result<Option<UnixStream>, Error> {
        let Some(mut stream) = self.connect(id).await? else {
            return Ok(None);
        };
        match send(&mut stream, &Request::Subscribe).await {
            Ok(()) => Ok(Some(stream)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(source) => Err(Error::Connection {
                id: id.to_owned(),
                source,
            }),
        }
    }

    /// Connects to the shim; `None` when there is none. One that lives but does not listen (yet, or any more) is
    /// waited for: a daemon killed while making a container may have left one that is just starting.
    pub(crate) async fn connect(&self, id: &str) -> Result<Option<UnixStream>, Error> {
        if self.is_being_made(id) {
            return Err(Error::State {
                id: id.to_owned(),
                reason: "it is being made".to_owned(),
            });
        }
        let settled = async {
            loop {
                let alive = self.shim_is_alive(id);
                match self.try_connect(id).await? {
                    None if alive => tokio::time::sleep(LISTENING_STEP).await,
                    settled => return Ok(settled),
                }
            }
        };
        match tokio::time::timeout(LISTENING_WITHIN, settled).await {
            Ok(connected) => connected.map_err(|source| Error::Connection {
                id: id.to_owned(),
                source,
            }),
            Err(_) => Err(Error::Timeout {
                id: id.to_owned(),
                what: "a connection",
                after: LISTENING_WITHIN,
            }),
        }
    }

    /// Whether a process holds the lock a shim inherits.
    fn shim_is_alive(&self, id: &str) -> bool {
        let Ok(file) = std::fs::File::open(self.dir(id).join(names::COMPLAINTS)) else {
            return false;
        };
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    }

    async fn try_connect(&self, id: &str) -> io::Result<Option<UnixStream>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = match rustix::fs::open(self.dir(id), flags, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // A socket's path has room for 107 bytes (unix(7)); this one is short wherever the state directory is.
        let path = format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), names::SOCKET);
        match UnixStream::connect(path).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionRefused | ConnectionReset | NotFound
    )
}

async fn exchange(mut stream: UnixStream, request: &Request) -> io::Result<Option<Reply>> {
    let sent = send(&mut stream, request).await;
    let mut line = String::new();
    let read = BufReader::new(stream.take(LONGEST_LINE as u64))
        .read_line(&mut line)
        .await;
    match sent.and(read) {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(serde_json::from_str(&line)?)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn send(stream: &mut UnixStream, request: &Request) -> io::Result<()> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line).await
}
