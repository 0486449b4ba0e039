//! A blob's bytes, streamed and verified.
//!
//! A task fetches and feeds a bounded channel; the reader hashes what it takes out. The reader checks the digest
//! before it hands out the last chunk, so nobody can read a whole blob that is not the one asked for. A broken or
//! stalled connection is resumed at the byte reached. Waiting for the consumer never counts as a stall.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::Tasks;
use bytes::{Buf, Bytes};
use model::Digest;
use reqwest::StatusCode;
use reqwest::header::CONTENT_RANGE;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::body::content_length;
use crate::client::Client;
use crate::credentials::Credentials;
use crate::error::{ResolveError, one_line};
use crate::mirror::Source;
use crate::reference::Reference;
use crate::retry::Failure;
use crate::session::{Call, Opened, Session};

/// Chunks between the task and the reader. A chunk is what one read of a connection gives, some 16 to 400 KiB.
const CHUNKS: usize = 16;
/// New bytes that make the tries count from zero again. Bounds the tries of a blob by its size.
const PROGRESS: u64 = 1 << 20;
/// What part of all patience a mirror may use up.
const MIRROR_SHARE: u32 = 4;

/// Reads one blob. Blocks: use it in `spawn_blocking`, never in async code (it panics there). Dropping it ends the
/// fetch.
///
/// Errors carry a [`ResolveError`]: `error.get_ref()` and `downcast_ref`. After an error each read repeats it.
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
    mirrors: UsedMirrors,
    session: Session,
    _fetch: Fetch,
}

/// The mirrors that gave a part of a blob.
type UsedMirrors = Arc<Mutex<Vec<String>>>;

enum State {
    Reading,
    Verified,
    Broken(ResolveError),
}

/// Owns the fetching task: dropping the set aborts it.
struct Fetch(#[expect(dead_code, reason = "held for its drop")] Tasks);

impl std::fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobReader")
            .field("what", &self.what)
            .field("size", &self.size)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
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
            digest: None,
        };
        let session = self.session();
        let first = session.open(&call).await?;
        let (sender, chunks) = mpsc::channel(CHUNKS);
        let fetched = Arc::new(AtomicU64::new(0));
        let mirrors = UsedMirrors::default();
        let pump = Pump {
            session: session.clone(),
            mirrors: mirrors.clone(),
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
            mirrors,
            session,
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
                    host: "its registry".to_owned(),
                    image: self.what.clone(),
                    cause,
                });
            }
        }
    }

    fn verify(&mut self) {
        let got = Digest::from_sha256(&std::mem::take(&mut self.hash).finalize().into());
        if got == self.digest {
            self.state = State::Verified;
            return;
        }
        self.current.clear();
        let image = self.what.clone();
        let mirrors = self.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
        for host in mirrors.iter() {
            self.session.live.document.mirrors.distrust(host);
        }
        self.state = State::Broken(match mirrors.first() {
            // Not the image's fault: the next try goes elsewhere.
            Some(host) => ResolveError::Failing {
                host: host.clone(),
                image,
                status: format!("with bytes of the digest {got}"),
            },
            None => ResolveError::Malformed {
                image,
                what: format!("its bytes have the digest {got}"),
            },
        });
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
    session: Session,
    mirrors: UsedMirrors,
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
    async fn run(self, first: Opened) {
        if let Err(error) = self.stream(first).await {
            // A reader that is gone needs no error.
            let _ = self.sender.send(Err(error)).await;
        }
    }

    async fn stream(&self, first: Opened) -> Result<(), ResolveError> {
        let mut retries = self.session.retries();
        let mut position = Position {
            at: 0,
            waited: Duration::ZERO,
        };
        let mut mark = 0;
        let mut opened = Ok(first);
        loop {
            let failure = match opened {
                Ok(mut opened) => match self.drain(&mut opened, &mut position).await {
                    End::Done => return Ok(()),
                    End::Broken(failure) => self.session.blame(&opened.source, failure),
                },
                Err(failure) => failure,
            };
            if position.at - mark >= PROGRESS {
                mark = position.at;
                retries.reset();
            }
            retries.pause(failure).await?;
            opened = self.session.try_open(&self.call, position.at).await;
        }
    }

    /// Hands over one connection's bytes.
    async fn drain(&self, opened: &mut Opened, position: &mut Position) -> End {
        let mut skip = match self.begin(opened, position.at) {
            Ok(skip) => skip,
            Err(failure) => return End::Broken(failure),
        };
        if let Source::Mirror(host) = &opened.source {
            let mut used = self.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
            used.push(host.clone());
        }
        while position.at < self.size {
            let mut chunk = match self.next_chunk(opened, position).await {
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
    fn begin(&self, opened: &Opened, at: u64) -> Result<u64, Failure> {
        let headers = opened.reply.response.headers();
        if opened.reply.response.status() == StatusCode::PARTIAL_CONTENT {
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

    async fn next_chunk(&self, opened: &mut Opened, position: &mut Position) -> Result<Bytes, Failure> {
        let timeouts = &self.session.shared.timeouts;
        let reply = &mut opened.reply;
        let unreachable = |cause: String| ResolveError::Unreachable {
            host: reply.host.clone(),
            image: self.call.what.clone(),
            cause,
        };
        let asked = Instant::now();
        let got = tokio::time::timeout(timeouts.stall, reply.response.chunk()).await;
        position.waited += asked.elapsed();
        let sent = format!("it sent {} of {} bytes", position.at, self.size);
        if position.waited > self.patience(&opened.source) {
            let waited = position.waited.as_secs_f32();
            return Err(unreachable(format!("{sent} in {waited:.1} s, which is too slow")).into());
        }
        match got {
            Ok(Ok(Some(chunk))) => Ok(chunk),
            Ok(Ok(None)) => Err(Failure::passing(unreachable(sent))),
            Ok(Err(error)) => {
                let cause = crate::cause::root_cause(&error);
                Err(Failure::passing(unreachable(format!("{sent}, then {cause}"))))
            }
            Err(_) => Err(Failure::passing(unreachable(format!(
                "{sent}, then nothing for {} s",
                timeouts.stall.as_secs_f32()
            )))),
        }
    }

    /// How long this blob may be waited for in all.
    fn patience(&self, source: &Source) -> Duration {
        let timeouts = &self.session.shared.timeouts;
        let all = timeouts.patience + Duration::from_secs(self.size / timeouts.slowest.max(1));
        match source {
            Source::Registry => all,
            Source::Mirror(_) => all / MIRROR_SHARE,
        }
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
