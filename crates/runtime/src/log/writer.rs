//! The shim's side: appending lines to segments.
//!
//! A line that cannot be written (full disk) is given up but keeps its number, so that the reader sees the gap.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, remove_file};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::frame::{MAGIC, Stream, encode};
use crate::record::names;

/// A segment is closed when it has this many bytes.
const SEGMENT: u64 = 4 << 20;
/// How many segments are kept, the open one included.
const KEPT: usize = 2;

/// Appends lines; one per container.
#[derive(Debug)]
pub(crate) struct LogWriter {
    dir: PathBuf,
    next: u64,
    open: Option<Open>,
    segments: VecDeque<PathBuf>,
    /// Frames not yet written.
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    file: File,
    written: u64,
}

impl LogWriter {
    /// A writer into `dir`, which holds no segments yet.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            next: 0,
            open: None,
            segments: VecDeque::new(),
            buffer: Vec::new(),
        }
    }

    /// Adds a line to what the next [`LogWriter::write`] writes.
    pub fn push(&mut self, stream: Stream, at_nanos: i64, text: &[u8]) {
        encode(&mut self.buffer, stream, at_nanos, self.next, text);
        self.next += 1;
    }

    /// Writes what was pushed; returns whether readers can now see something new.
    pub fn write(&mut self) -> bool {
        if self.buffer.is_empty() {
            return false;
        }
        let first = self.first_in_buffer();
        let buffer = std::mem::take(&mut self.buffer);
        let written = self.segment(first).and_then(|open| open.append(&buffer)).is_ok();
        self.buffer = buffer;
        self.buffer.clear();
        written
    }

    /// The number of the oldest line not yet written.
    fn first_in_buffer(&self) -> u64 {
        match super::frame::decode(&self.buffer) {
            Ok(Some((line, _))) => line.sequence,
            _ => self.next,
        }
    }

    /// The segment to append to; a new one, named after the first line it will hold, when the old one is full.
    fn segment(&mut self, first: u64) -> io::Result<&mut Open> {
        if self.open.as_ref().is_some_and(|open| open.written >= SEGMENT) {
            self.open = None;
        }
        if self.open.is_none() {
            let path = self.dir.join(format!("{}{first:020}", names::LOG_PREFIX));
            while self.segments.len() >= KEPT {
                if let Some(oldest) = self.segments.pop_front() {
                    // Already gone is as good.
                    drop(remove_file(oldest));
                }
            }
            let mut options = OpenOptions::new();
            let file = options.append(true).create(true).mode(0o600).open(&path)?;
            let mut open = Open { file, written: 0 };
            if let Err(error) = open.append(&MAGIC) {
                // Readers wait for a segment to begin; one that never does must not be found.
                drop(remove_file(&path));
                return Err(error);
            }
            self.segments.push_back(path);
            self.open = Some(open);
        }
        self.open
            .as_mut()
            .ok_or_else(|| io::Error::other("no open segment"))
    }
}

impl Open {
    /// Appends all of `bytes` or nothing: half a frame would hide what follows it.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let result = self.file.write_all(bytes);
        match result {
            Ok(()) => self.written += bytes.len() as u64,
            Err(_) => self.file.set_len(self.written)?,
        }
        result
    }
}
