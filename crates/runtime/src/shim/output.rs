//! Moving the program's output into the log, whoever listens.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use base::Clock;
use rustix::io::Errno;

use crate::log::{Lines, LogWriter, Stream};

const CHUNK: usize = 64 << 10;

/// Both streams and the log they go to.
pub(super) struct Output {
    streams: Vec<Source>,
    log: LogWriter,
    clock: base::SystemClock,
    chunk: Vec<u8>,
}

struct Source {
    stream: Stream,
    fd: OwnedFd,
    lines: Lines,
}

/// What reading a stream came to.
enum Read {
    Some,
    Nothing,
    End,
}

impl Output {
    pub fn new(streams: [(Stream, OwnedFd); 2], log: LogWriter) -> Self {
        let source = |(stream, fd)| Source {
            stream,
            fd,
            lines: Lines::default(),
        };
        Self {
            streams: streams.into_iter().map(source).collect(),
            log,
            clock: base::SystemClock,
            chunk: vec![0; CHUNK],
        }
    }

    /// The open streams, in a stable order.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.streams.iter().map(|source| source.fd.as_fd())
    }

    /// Reads each stream once; returns whether readers of the log can see something new.
    pub fn pump(&mut self) -> bool {
        self.streams = std::mem::take(&mut self.streams)
            .into_iter()
            .filter_map(|mut source| match self.read(&mut source) {
                Read::End => {
                    self.flush(&mut source);
                    None
                }
                Read::Some | Read::Nothing => Some(source),
            })
            .collect();
        self.log.write()
    }

    /// Reads all there is, after the last process that could write has died.
    pub fn drain(&mut self) {
        for mut source in std::mem::take(&mut self.streams) {
            while let Read::Some = self.read(&mut source) {
                self.log.write();
            }
            self.flush(&mut source);
        }
        self.log.write();
    }

    fn read(&mut self, source: &mut Source) -> Read {
        match rustix::io::read(&source.fd, self.chunk.as_mut_slice()) {
            Ok(0) => Read::End,
            Ok(count) => {
                let now = base::unix_nanos(self.clock.now());
                let bytes = self.chunk.get(..count).unwrap_or_default();
                source
                    .lines
                    .feed(bytes, |line| self.log.push(source.stream, now, line));
                Read::Some
            }
            Err(Errno::AGAIN | Errno::INTR) => Read::Nothing,
            Err(_) => Read::End,
        }
    }

    fn flush(&mut self, source: &mut Source) {
        let now = base::unix_nanos(self.clock.now());
        source.lines.flush(|line| self.log.push(source.stream, now, line));
    }
}
