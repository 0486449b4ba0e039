//! Brings a container's output to the log store, also that of containers earlier daemons started.
//!
//! How far it got is noted in a file of the instance, some hundred milliseconds late: after a kill a few lines may be
//! told twice, since those that were still on their way to the log store died with the daemon.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{CancellationToken, Report, Tasks};
use runtime::{LogEvent, LogLine, LogReader, Runtime};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, warn};

use super::bucket::{Bucket, Verdict};
use super::voice::{Stream, Voice};

/// Lines that are kept for the report of a crash.
const TAIL: usize = 10;
/// Longest of them, bytes.
const TAIL_LINE: usize = 1024;
/// How late the position is noted: longer than a line usually takes to the log store.
const NOTE_EVERY: Duration = Duration::from_millis(250);
/// Between attempts to read again after a fault.
const RETRY: Duration = Duration::from_secs(1);
/// How long the last lines of a container may take.
const LAST_LINES: Duration = Duration::from_secs(5);

/// How much output there was.
#[derive(Debug, Default)]
pub(crate) struct Meter(AtomicU64);

impl Meter {
    /// Bytes passed on since the start.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a pump needs.
#[derive(Debug)]
pub(crate) struct Pump {
    pub(crate) runtime: Runtime,
    pub(crate) id: String,
    pub(crate) voice: Voice,
    pub(crate) meter: Arc<Meter>,
    /// Where the position is noted.
    pub(crate) note: PathBuf,
    /// The app's limit; negative for none.
    pub(crate) bytes_per_second: i64,
}

/// A running pump.
#[derive(Debug)]
pub(crate) struct Output {
    tail: Arc<Mutex<VecDeque<String>>>,
    done: CancellationToken,
}

impl Output {
    /// Waits until the output of a container that has ended is told; its last lines.
    pub(crate) async fn last_lines(&self) -> Vec<String> {
        if timeout(LAST_LINES, self.done.cancelled()).await.is_err() {
            warn!("the last output of a container took too long and may be missing from its log");
        }
        let tail = self.tail.lock().expect("no holder of this lock panics");
        tail.iter().cloned().collect()
    }
}

impl Pump {
    /// Starts in `tasks`, after the last line an earlier pump noted.
    pub(crate) fn start(self, tasks: &Tasks) -> Output {
        let tail = Arc::new(Mutex::new(VecDeque::with_capacity(TAIL)));
        let done = CancellationToken::new();
        let output = Output {
            tail: tail.clone(),
            done: done.clone(),
        };
        let from = read_note(&self.note);
        let flow = Flow {
            bucket: Bucket::new(self.bytes_per_second, Instant::now()),
            next: from.saturating_sub(TAIL as u64),
            from,
            tail,
            pump: self,
        };
        let cancel = tasks.token();
        tasks.spawn_graceful("output", async move {
            let _done = done.drop_guard();
            flow.run(cancel).await;
        });
        output
    }
}

struct Flow {
    pump: Pump,
    bucket: Bucket,
    /// The first line not told yet when this pump started; those before it are read for the tail only.
    from: u64,
    /// The next line to read.
    next: u64,
    tail: Arc<Mutex<VecDeque<String>>>,
}

impl Flow {
    async fn run(mut self, cancel: CancellationToken) {
        let note = open_note(&self.pump.note);
        if let Err(error) = &note {
            warn!(id = self.pump.id, %error, "cannot note how much of a container's output was told");
        }
        let note = note.ok();
        // Cancel-safe: what was read is told, and counted in `self`, before the next await.
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.follow(note.as_ref()) => {}
        }
        write_note(note.as_ref(), self.next.max(self.from));
    }

    async fn follow(&mut self, note: Option<&File>) {
        loop {
            match self.pump.runtime.logs(&self.pump.id, self.next).await {
                Ok(reader) => match self.drain(reader, note).await {
                    Ok(()) => return,
                    Err(error) => warn!(id = self.pump.id, %error, "cannot read a container's output"),
                },
                Err(runtime::Error::NotFound { .. }) => return,
                Err(error) => {
                    warn!(id = self.pump.id, error = %Report(&error), "cannot follow a container's output");
                }
            }
            sleep(RETRY).await;
        }
    }

    async fn drain(&mut self, mut reader: LogReader, note: Option<&File>) -> io::Result<()> {
        let mut ticks = interval(NOTE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut noted, mut told_before) = (self.from, self.from);
        loop {
            // Cancel-safe: both futures say so.
            tokio::select! {
                event = reader.next() => match event? {
                    Some(LogEvent::Line(line)) => self.line(line),
                    Some(LogEvent::Lost(count)) => self.lost(count),
                    None => return Ok(()),
                },
                _ = ticks.tick() => {
                    if told_before > noted {
                        noted = told_before;
                        write_note(note, noted);
                    }
                    told_before = self.next;
                }
            }
        }
    }

    fn line(&mut self, line: LogLine) {
        self.next = line.sequence + 1;
        self.remember(&line.text);
        if line.sequence < self.from {
            return;
        }
        let size = line.text.len();
        match self.bucket.take(size, Instant::now()) {
            Verdict::Pass => {}
            Verdict::PassAfter(dropped) => {
                let text = format!("{dropped} log lines were dropped by the log rate limit");
                self.pump.voice.aside(&text, Stream::Err);
            }
            Verdict::DropAndTell => {
                let limit = self.pump.bytes_per_second;
                let text = format!("app instance exceeded log rate limit ({limit} bytes/sec)");
                return self.pump.voice.aside(&text, Stream::Err);
            }
            Verdict::Drop => return,
        }
        self.pump.meter.0.fetch_add(size as u64, Ordering::Relaxed);
        let stream = match line.stream {
            runtime::Stream::Stdout => Stream::Out,
            runtime::Stream::Stderr => Stream::Err,
        };
        self.pump.voice.app(line.text, stream, line.at);
    }

    fn lost(&mut self, count: u64) {
        let start = self.next.max(self.from);
        self.next += count;
        let count = self.next.saturating_sub(start);
        if count > 0 {
            let text = format!("{count} log lines were lost, because more was written than could be kept");
            self.pump.voice.aside(&text, Stream::Err);
        }
    }

    fn remember(&self, line: &[u8]) {
        let line = line.get(..TAIL_LINE).unwrap_or(line);
        let mut tail = self.tail.lock().expect("no holder of this lock panics");
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(String::from_utf8_lossy(line).into_owned());
    }
}

/// The first line not told yet; 0 for an instance that never said anything.
fn read_note(path: &Path) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

fn open_note(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Always the same length, in one write: never torn by a kill.
fn write_note(note: Option<&File>, position: u64) {
    let written = note.map(|file| file.write_all_at(format!("{position:020}\n").as_bytes(), 0));
    if let Some(Err(error)) = written {
        debug!(%error, "cannot note how much of a container's output was told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_comes_back_and_a_missing_or_damaged_one_is_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log-position");
        assert_eq!(read_note(&path), 0);
        let note = open_note(&path).unwrap();
        for position in [0, 7, u64::MAX, 3] {
            write_note(Some(&note), position);
            assert_eq!(read_note(&path), position);
        }
        std::fs::write(&path, "x").unwrap();
        assert_eq!(read_note(&path), 0);
    }
}
