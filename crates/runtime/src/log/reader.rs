//! The daemon's side: following a container's segments, also those of a container that has ended.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

use super::frame::{Damaged, LogLine, MAGIC, decode};
use crate::record::names;

const CHUNK: usize = 64 << 10;

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// A line.
    Line(LogLine),
    /// This many lines were overwritten, or could not be stored, before they were read.
    Lost(u64),
}

/// Follows one container's output. Independent of other readers; dropping it costs nothing.
#[derive(Debug)]
pub struct LogReader {
    dir: PathBuf,
    /// The number of the line wanted next.
    next: u64,
    segment: Option<Segment>,
    /// A frame that was read before it was known that others before it are lost.
    held: Option<LogLine>,
    /// Tells of new output; `None` once the shim has ended and nothing more can come.
    nudges: Option<UnixStream>,
}

#[derive(Debug)]
struct Segment {
    first: u64,
    file: File,
    buffer: Vec<u8>,
    /// Bytes of `buffer` already used.
    used: usize,
}

impl LogReader {
    /// Reads from line number `from`; `nudges` is a connection subscribed before this call, or `None` when the shim
    /// has ended.
    pub(crate) fn new(dir: PathBuf, from: u64, nudges: Option<UnixStream>) -> Self {
        Self {
            dir,
            next: from,
            segment: None,
            held: None,
            nudges,
        }
    }

    /// The number of the line wanted next: where another reader continues.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The next event; waits while the container is silent. `None` when it has ended and all was read.
    ///
    /// Cancel-safe: nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub async fn next(&mut self) -> io::Result<Option<LogEvent>> {
        loop {
            // Whether more can come is asked before reading: what comes between the two is read, or nudges again.
            let ended = self.nudges.is_none();
            if let Some(event) = self.poll()? {
                return Ok(Some(event));
            }
            if ended {
                return Ok(None);
            }
            self.wait().await;
        }
    }

    /// The next event there is now.
    fn poll(&mut self) -> io::Result<Option<LogEvent>> {
        loop {
            let Some(line) = self
                .held
                .take()
                .map_or_else(|| self.read_line(), |line| Ok(Some(line)))?
            else {
                return Ok(None);
            };
            if line.sequence < self.next {
                continue;
            }
            if line.sequence > self.next {
                let lost = line.sequence - self.next;
                self.next = line.sequence;
                self.held = Some(line);
                return Ok(Some(LogEvent::Lost(lost)));
            }
            self.next += 1;
            return Ok(Some(LogEvent::Line(line)));
        }
    }

    /// Waits for a nudge and takes all that are there. A closed connection means the shim has ended.
    async fn wait(&mut self) {
        let Some(nudges) = &self.nudges else { return };
        let mut ended = nudges.readable().await.is_err();
        let mut taken = [0; 512];
        while !ended {
            match nudges.try_read(&mut taken) {
                Ok(0) => ended = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => ended = true,
            }
        }
        if ended {
            self.nudges = None;
        }
    }

    /// The next whole frame, of this segment or the one after it.
    fn read_line(&mut self) -> io::Result<Option<LogLine>> {
        loop {
            let Some(segment) = &mut self.segment else {
                match open_for(&self.dir, self.next)? {
                    Some(segment) => self.segment = Some(segment),
                    None => return Ok(None),
                }
                continue;
            };
            if let Some(line) = segment.line()? {
                return Ok(Some(line));
            }
            // A segment is complete once there is a newer one; its last frames may have come since it was read.
            let Some(newer) = open_after(&self.dir, segment.first)? else {
                return Ok(None);
            };
            if let Some(line) = segment.line()? {
                return Ok(Some(line));
            }
            self.segment = Some(newer);
        }
    }
}

impl Segment {
    /// The next whole frame there is now.
    fn line(&mut self) -> io::Result<Option<LogLine>> {
        loop {
            match decode(self.buffer.get(self.used..).unwrap_or_default()) {
                Ok(Some((line, length))) => {
                    self.used += length;
                    return Ok(Some(line));
                }
                Ok(None) => {}
                Err(Damaged) => {
                    // What is appended later starts on a border again; the gap shows in the numbers.
                    tracing::warn!(first = self.first, "skipping damaged bytes of a log segment");
                    self.file.seek(SeekFrom::End(0))?;
                    self.used = self.buffer.len();
                }
            }
            self.buffer.drain(..self.used);
            self.used = 0;
            let read = Read::by_ref(&mut self.file)
                .take(CHUNK as u64)
                .read_to_end(&mut self.buffer)?;
            if read == 0 {
                return Ok(None);
            }
        }
    }

    /// `None` when it vanished meanwhile, or has not even its first bytes yet.
    fn open(dir: &Path, first: u64) -> io::Result<Option<Self>> {
        let mut file = match File::open(dir.join(format!("{}{first:020}", names::LOG_PREFIX))) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut magic = [0; MAGIC.len()];
        match file.read_exact(&mut magic) {
            Ok(()) if magic == MAGIC => Ok(Some(Self {
                first,
                file,
                buffer: Vec::new(),
                used: 0,
            })),
            Ok(()) => Err(io::Error::other("log segment of an unknown form")),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The first lines of all segments, ascending.
fn firsts(dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut firsts = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix(names::LOG_PREFIX)?.parse::<u64>().ok());
        firsts.extend(number);
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// The segment that holds line `wanted`, or the oldest one.
fn open_for(dir: &Path, wanted: u64) -> io::Result<Option<Segment>> {
    let firsts = firsts(dir)?;
    let holding = firsts
        .iter()
        .rev()
        .find(|first| **first <= wanted)
        .or_else(|| firsts.first());
    holding.map_or(Ok(None), |first| Segment::open(dir, *first))
}

fn open_after(dir: &Path, first: u64) -> io::Result<Option<Segment>> {
    let later = firsts(dir)?.into_iter().find(|later| *later > first);
    later.map_or(Ok(None), |later| Segment::open(dir, later))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{LogWriter, Stream};

    async fn drain(reader: &mut LogReader) -> (u64, u64) {
        let (mut lines, mut lost) = (0, 0);
        while let Some(event) = reader.next().await.expect("readable") {
            match event {
                LogEvent::Line(line) => {
                    assert_eq!(line.text, format!("line {}", line.sequence).as_bytes());
                    lines += 1;
                }
                LogEvent::Lost(count) => lost += count,
            }
        }
        (lines, lost)
    }

    fn write(writer: &mut LogWriter, from: u64, to: u64) {
        for number in from..to {
            writer.push(Stream::Stdout, 1, format!("line {number}").as_bytes());
            writer.write();
        }
    }

    #[tokio::test]
    async fn readers_start_anywhere_and_continue() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut writer = LogWriter::new(dir.path());
        write(&mut writer, 0, 100);
        let mut reader = LogReader::new(dir.path().to_owned(), 40, None);
        assert_eq!(drain(&mut reader).await, (60, 0));
        write(&mut writer, 100, 150);
        assert_eq!(drain(&mut reader).await, (50, 0));
        assert_eq!(reader.position(), 150);
    }

    #[tokio::test]
    async fn what_was_overwritten_is_counted() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut writer = LogWriter::new(dir.path());
        let total = 400_000;
        for block in 0..total / 1000 {
            for number in block * 1000..(block + 1) * 1000 {
                writer.push(Stream::Stdout, 1, format!("line {number}").as_bytes());
            }
            assert!(writer.write());
        }
        let (lines, lost) = drain(&mut LogReader::new(dir.path().to_owned(), 0, None)).await;
        assert_eq!(lines + lost, total);
        assert!(lost > 0 && lines > 100_000, "{lost} lost");
        assert_eq!(firsts(dir.path()).expect("listable").len(), 2);
    }
}
