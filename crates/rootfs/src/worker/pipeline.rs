//! Three threads over one stream: the first decompresses, the second makes files, the third hashes.
//!
//! Chunks of decompressed bytes are shared, not copied, and come back to be filled again when both readers are
//! through with them, so the memory taken is the same for every layer.

use std::io::{self, BufRead, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, SyncSender, sync_channel};

use model::Digest;
use rustix::fs::fstatvfs;
use sha2::{Digest as _, Sha256};

use super::Orders;
use crate::decode::Plain;
use crate::error::UnpackError;
use crate::extract::{Extracted, extract};
use crate::report::Outcome;
use crate::tar::TarStream;

/// Bytes of a chunk: they stay in a core's cache between the threads.
const CHUNK: usize = 256 << 10;
/// Chunks there are.
const CHUNKS: usize = 12;
/// Stack of a thread, bytes; tar and files go a few calls deep, removals 64.
const STACK: usize = 1 << 20;
/// Most bytes of a layer between two looks at what is free on the disk.
const MAX_STEP: u64 = 16 << 20;

/// Decompressed bytes on their way.
struct Chunk {
    bytes: Vec<u8>,
    len: usize,
    free: SyncSender<Vec<u8>>,
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // There is room for all chunks; at the end nobody wants them back.
        let _ = self.free.try_send(std::mem::take(&mut self.bytes));
    }
}

/// What the thread that makes files gets.
enum Piece {
    Data(Arc<Chunk>),
    /// The blob cannot be read on.
    Broken(io::Error),
}

/// The threads, waiting for work.
pub(super) struct Crew {
    pieces: SyncSender<Piece>,
    hashed: SyncSender<Arc<Chunk>>,
    free: (SyncSender<Vec<u8>>, Receiver<Vec<u8>>),
    extracted: Receiver<Result<Extracted, UnpackError>>,
    digest: Receiver<Digest>,
}

impl Crew {
    /// Starts the threads; when this returns they make no more calls than their work takes.
    pub(super) fn muster(root: OwnedFd, orders: &Orders) -> Result<Self, UnpackError> {
        let (pieces, all_pieces) = sync_channel(CHUNKS + 1);
        let (hashed, all_hashed) = sync_channel::<Arc<Chunk>>(CHUNKS);
        let (tell_extracted, extracted) = sync_channel(1);
        let (tell_digest, digest) = sync_channel(1);
        let free = sync_channel(CHUNKS);
        for _ in 0..CHUNKS {
            let _ = free.0.try_send(vec![0; CHUNK]);
        }
        let (limits, disk) = (orders.limits, Disk::new(&root, orders.reserve)?);
        start("files", move || {
            let stream = Stream::new(all_pieces, disk);
            let _ = tell_extracted.send(files(stream, root, limits));
        })?;
        start("digest", move || {
            let mut hash = Sha256::new();
            for chunk in all_hashed {
                hash.update(chunk.bytes.get(..chunk.len).unwrap_or_default());
            }
            let _ = tell_digest.send(Digest::from_sha256(&hash.finalize().into()));
        })?;
        Ok(Self {
            pieces,
            hashed,
            free,
            extracted,
            digest,
        })
    }

    /// Unpacks `blob`, to its end.
    pub(super) fn unpack(self, blob: impl Read, max_bytes: u64) -> Outcome {
        if let Err(error) = self.decompress(blob, max_bytes) {
            let _ = self.pieces.send(Piece::Broken(error));
        }
        drop((self.pieces, self.hashed));
        let extracted = self.extracted.recv().map_err(gone)??;
        Ok((extracted, self.digest.recv().map_err(gone)?))
    }

    /// Until the end, or until the files failed, which is told by them.
    fn decompress(&self, blob: impl Read, max_bytes: u64) -> io::Result<()> {
        let mut plain = Plain::new(blob, max_bytes)?;
        while let Ok(mut bytes) = self.free.1.recv() {
            let mut len = 0;
            let ended = loop {
                let room = bytes.get_mut(len..).unwrap_or_default();
                if room.is_empty() {
                    break false;
                }
                match plain.read(room) {
                    Ok(0) => break true,
                    Ok(more) => len += more,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            };
            let free = self.free.0.clone();
            let chunk = Arc::new(Chunk { bytes, len, free });
            let hashed = self.hashed.send(Arc::clone(&chunk)).is_ok();
            if self.pieces.send(Piece::Data(chunk)).is_err() || !hashed || ended {
                break;
            }
        }
        Ok(())
    }
}

/// A thread that ended without a result panicked; where is known to the hook.
fn gone(_: RecvError) -> UnpackError {
    match super::panicked() {
        Err(error) => error,
        Ok(_) => unreachable!("a panic is an error"),
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), UnpackError> {
    let fail = |source| UnpackError::Confine {
        step: "start its threads",
        source,
    };
    let (ready, started) = sync_channel(1);
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK);
    let spawned = thread.spawn(move || {
        let _ = ready.send(());
        work();
    });
    spawned.map_err(fail)?;
    started.recv().map_err(|error| fail(io::Error::other(error)))
}

fn files(stream: Stream, root: OwnedFd, limits: crate::UnpackLimits) -> Result<Extracted, UnpackError> {
    let mut tar = TarStream::new(stream);
    let extracted = extract(&mut tar, root, limits)?;
    // What follows the archive belongs to the digest, and an error there is one.
    let mut rest = tar.into_inner();
    loop {
        let seen = rest.fill_buf().map_err(UnpackError::Read)?.len();
        if seen == 0 {
            return Ok(extracted);
        }
        rest.consume(seen);
    }
}

/// The chunks as one stream.
struct Stream {
    pieces: Receiver<Piece>,
    chunk: Option<Arc<Chunk>>,
    at: usize,
    disk: Disk,
}

impl Stream {
    fn new(pieces: Receiver<Piece>, disk: Disk) -> Self {
        Self {
            pieces,
            chunk: None,
            at: 0,
            disk,
        }
    }

    fn rest(&self) -> &[u8] {
        let chunk = self.chunk.as_deref();
        chunk
            .and_then(|chunk| chunk.bytes.get(self.at..chunk.len))
            .unwrap_or_default()
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.rest().is_empty() {
            // Before the wait, so that it can be filled again.
            self.chunk = None;
            self.at = 0;
            match self.pieces.recv() {
                Ok(Piece::Data(chunk)) => {
                    self.disk.about_to_write(chunk.len as u64)?;
                    self.chunk = Some(chunk);
                }
                Ok(Piece::Broken(error)) => return Err(error),
                Err(RecvError) => break,
            }
        }
        Ok(self.rest())
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut from = self.fill_buf()?;
        let read = from.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

/// Watches that enough stays free. A layer takes about as much as its tar is long.
struct Disk {
    root: OwnedFd,
    reserve: u64,
    step: u64,
    since: u64,
}

impl Disk {
    fn new(root: &OwnedFd, reserve: u64) -> Result<Self, UnpackError> {
        let root = root.try_clone().map_err(UnpackError::entry("open", b"/"))?;
        Ok(Self {
            root,
            reserve,
            step: MAX_STEP.min(reserve / 4),
            since: 0,
        })
    }

    fn about_to_write(&mut self, bytes: u64) -> io::Result<()> {
        self.since += bytes;
        if self.reserve == 0 || self.since < self.step {
            return Ok(());
        }
        self.since = 0;
        let disk = fstatvfs(&self.root)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < self.reserve {
            // Known by its kind to the report.
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}
