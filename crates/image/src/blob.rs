//! A blob's bytes, streamed and verified.
//!
//! A task fetches and feeds a bounded channel; the reader hashes what it takes out. The reader checks the digest
//! before it hands out the last chunk, so nobody can read a whole blob that is not the one asked for. A broken or
//! stalled connection is resumed at the byte reached. Waiting for the consumer never counts as a stall.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::Tasks;
use bytes::{Buf, Bytes};
use model::Digest;
use reqwest::StatusCode;
use reqwest::header::CONTENT_RANGE;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::client::{Call, Client, content_length};
use crate::credentials::Credentials;
use crate::error::{ResolveError, one_line};
use crate::reference::Reference;
use crate::retry::Failure;
use crate::transport::Reply;

/// Chunks between the task and the reader. A chunk is what one read of a connection gives, some 16 to 400 KiB.
const CHUNKS: usize = 16;
/// New bytes that make the tries count from zero again. Bounds the tries of a blob by its size.
const PROGRESS: u64 = 1 << 20;
/// All waiting for the network together is bounded by this and by `SLOWEST` bytes a second.
const LEAST_PATIENCE: Duration = Duration::from_secs(300);
const SLOWEST: u64 = 32 * 1024;

/// Reads one blob. Blocks: use it in `spawn_blocking`, never in async code (it panics there). Dropping it ends the
/// fetch.
///
/// Errors carry a [`ResolveError`]: `error.get_ref()` and `downcast_ref`. After an error each read repeats it.
#[derive(Debug)]
pub struct BlobReader {
    chunks: mpsc::Receiver<Result<Bytes, ResolveError>>,
    current: Bytes,
    hash: Sha256,
    seen: u64,
    size: u64,
    digest: Digest,
    what: String,
    state: State,
    fetched: Arc<AtomicU64>,
    _fetch: Fetch,
}

#[derive(Debug)]
enum State {
    Reading,
    Verified,
    Broken(ResolveError),
}

/// Owns the fetching task: dropping the set aborts it.
struct Fetch(#[expect(dead_code, reason = "held for its drop")] Tasks);

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fetch")
    }
}

impl Client {
    /// Starts to fetch a blob of `size` bytes from the reference's repository. Returns once the registry has begun to
    /// send it, so a missing blob or refused access is an error here and not in the reader.
    pub async fn blob(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
        digest: &Digest,
        size: u64,
    ) -> Result<BlobReader, ResolveError> {
        let what = format!("blob {digest} of {}", reference.name());
        let call = Call {
            reference: reference.clone(),
            credentials: credentials.cloned(),
            path: format!("blobs/{digest}"),
            what: what.clone(),
            accept: "*/*",
        };
        let first = self.open(&call).await?;
        let (sender, chunks) = mpsc::channel(CHUNKS);
        let fetched = Arc::new(AtomicU64::new(0));
        let pump = Pump {
            client: self.clone(),
            call,
            size,
            sender,
            fetched: fetched.clone(),
        };
        let tasks = Tasks::new();
        tasks.spawn("image blob", pump.run(first));
        Ok(BlobReader {
            chunks,
            current: Bytes::new(),
            hash: Sha256::new(),
            seen: 0,
            size,
            digest: digest.clone(),
            what,
            state: State::Reading,
            fetched,
            _fetch: Fetch(tasks),
        })
    }
}

impl BlobReader {
    /// Bytes that have come from the registry so far; counts on while the reader is used elsewhere.
    pub fn progress(&self) -> Arc<AtomicU64> {
        self.fetched.clone()
    }

    /// The size the blob must have.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads and drops the rest, and says whether the whole blob was the one asked for. For consumers that stop before
    /// the end, as archive readers do.
    pub fn finish(mut self) -> io::Result<()> {
        while self.fill()? {
            self.current.clear();
        }
        Ok(())
    }

    /// Makes `current` hold bytes; false at the verified end.
    fn fill(&mut self) -> io::Result<bool> {
        while self.current.is_empty() {
            match &self.state {
                State::Verified => return Ok(false),
                State::Broken(error) => return Err(io_error(error)),
                State::Reading if self.seen == self.size => self.verify(),
                State::Reading => self.receive(),
            }
        }
        Ok(true)
    }

    fn receive(&mut self) {
        match self.chunks.blocking_recv() {
            Some(Ok(chunk)) => {
                self.hash.update(&chunk);
                self.seen += chunk.len() as u64;
                self.current = chunk;
                if self.seen == self.size {
                    self.verify();
                }
            }
            Some(Err(error)) => self.state = State::Broken(error),
            None => {
                let cause = "the fetch was cancelled".to_owned();
                self.state = State::Broken(ResolveError::Unreachable {
                    host: self.what.clone(),
                    cause,
                });
            }
        }
    }

    fn verify(&mut self) {
        let got = Digest::from_sha256(&std::mem::take(&mut self.hash).finalize().into());
        if got == self.digest {
            self.state = State::Verified;
        } else {
            self.current.clear();
            let what = format!("its bytes have the digest {got}");
            self.state = State::Broken(ResolveError::Malformed {
                image: self.what.clone(),
                what,
            });
        }
    }
}

impl Read for BlobReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() || !self.fill()? {
            return Ok(0);
        }
        let count = (&*self.current).read(into)?;
        self.current.advance(count);
        Ok(count)
    }
}

fn io_error(error: &ResolveError) -> io::Error {
    let kind = match error {
        ResolveError::Malformed { .. } => io::ErrorKind::InvalidData,
        ResolveError::Unreachable { .. } => io::ErrorKind::ConnectionAborted,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error.clone())
}

/// The fetching side.
struct Pump {
    client: Client,
    call: Call,
    size: u64,
    sender: mpsc::Sender<Result<Bytes, ResolveError>>,
    fetched: Arc<AtomicU64>,
}

/// Where a fetch is.
struct Position {
    /// Bytes handed to the reader.
    at: u64,
    /// Time spent waiting for the network.
    waited: Duration,
}

/// How a connection ended.
enum End {
    /// All bytes are handed over, or nobody reads any more.
    Done,
    /// To be resumed, or not.
    Broken(Failure),
}

impl Pump {
    async fn run(self, first: Reply) {
        if let Err(error) = self.stream(first).await {
            // A reader that is gone needs no error.
            let _ = self.sender.send(Err(error)).await;
        }
    }

    async fn stream(&self, first: Reply) -> Result<(), ResolveError> {
        let mut retries = self.client.retries();
        let mut position = Position {
            at: 0,
            waited: Duration::ZERO,
        };
        let mut mark = 0;
        let mut opened = Ok(first);
        loop {
            let failure = match opened {
                Ok(reply) => match self.drain(reply, &mut position).await {
                    End::Done => return Ok(()),
                    End::Broken(failure) => failure,
                },
                Err(failure) => failure,
            };
            if position.at - mark >= PROGRESS {
                mark = position.at;
                retries.reset();
            }
            retries.pause(failure).await?;
            opened = self.client.try_open(&self.call, position.at).await;
        }
    }

    /// Hands over one connection's bytes.
    async fn drain(&self, mut reply: Reply, position: &mut Position) -> End {
        let mut skip = match self.begin(&reply, position.at) {
            Ok(skip) => skip,
            Err(failure) => return End::Broken(failure),
        };
        while position.at < self.size {
            let mut chunk = match self.next_chunk(&mut reply, position).await {
                Ok(chunk) => chunk,
                Err(failure) => return End::Broken(failure),
            };
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            let _ = chunk.split_to(skipped);
            skip -= skipped as u64;
            if chunk.is_empty() {
                continue;
            }
            if chunk.len() as u64 > self.size - position.at {
                return End::Broken(
                    self.malformed(format!("it is longer than {} bytes", self.size))
                        .into(),
                );
            }
            position.at += chunk.len() as u64;
            self.fetched.store(position.at, Ordering::Relaxed);
            if self.sender.send(Ok(chunk)).await.is_err() {
                return End::Done;
            }
        }
        End::Done
    }

    /// How many bytes of this answer are known already: registries may ignore a range.
    fn begin(&self, reply: &Reply, at: u64) -> Result<u64, Failure> {
        let headers = reply.response.headers();
        if reply.response.status() == StatusCode::PARTIAL_CONTENT {
            let range = headers
                .get(CONTENT_RANGE)
                .and_then(|v| v.to_str().ok())
                .unwrap_or_default();
            return match range_start(range) {
                Some(start) if start == at => Ok(0),
                _ => Err(self
                    .malformed(format!(
                        "bytes from {at} were asked for, {:?} came",
                        one_line(range)
                    ))
                    .into()),
            };
        }
        match content_length(headers) {
            Some(length) if length != self.size => Err(self
                .malformed(format!(
                    "the registry has {length} bytes of it instead of {}",
                    self.size
                ))
                .into()),
            _ => Ok(at),
        }
    }

    async fn next_chunk(&self, reply: &mut Reply, position: &mut Position) -> Result<Bytes, Failure> {
        let stall = self.client.settings().timeouts.stall;
        let unreachable = |cause: String| ResolveError::Unreachable {
            host: reply.host.clone(),
            cause,
        };
        let asked = Instant::now();
        let got = tokio::time::timeout(stall, reply.response.chunk()).await;
        position.waited += asked.elapsed();
        if position.waited > self.patience() {
            return Err(unreachable(format!("{} came too slowly", self.call.what)).into());
        }
        match got {
            Ok(Ok(Some(chunk))) => Ok(chunk),
            Ok(Ok(None)) => Err(Failure::passing(unreachable(format!(
                "it sent {} of {} bytes of {}",
                position.at, self.size, self.call.what
            )))),
            Ok(Err(error)) => Err(Failure::passing(unreachable(crate::transport::root_cause(
                &error,
            )))),
            Err(_) => Err(Failure::passing(unreachable(format!(
                "it sent nothing of {} for {} s",
                self.call.what,
                stall.as_secs_f32()
            )))),
        }
    }

    fn patience(&self) -> Duration {
        LEAST_PATIENCE + Duration::from_secs(self.size / SLOWEST)
    }

    fn malformed(&self, what: String) -> ResolveError {
        ResolveError::Malformed {
            image: self.call.what.clone(),
            what,
        }
    }
}

/// The first byte of `bytes START-END/SIZE`.
fn range_start(text: &str) -> Option<u64> {
    text.strip_prefix("bytes ")?
        .split_once('-')?
        .0
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_range() {
        for (text, want) in [
            ("bytes 5-9/10", Some(5)),
            ("bytes 5-9/*", Some(5)),
            ("bytes */10", None),
            ("", None),
            ("items 1-2/3", None),
        ] {
            assert_eq!(range_start(text), want, "{text}");
        }
    }
}
