//! Looking at the process that unpacks, from outside, while it is in the middle of its work.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Longest wait for what happens within milliseconds on a quiet machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done` gives something.
pub fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(result) = done() {
            return result;
        }
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A process that unpacks.
#[derive(Clone, Copy)]
pub struct Unpacking(pub i32);

impl Unpacking {
    /// The one that was told this limit, which no other test uses.
    pub fn with_limit(max_bytes: u64) -> Option<Self> {
        let limit = max_bytes.to_string();
        let processes = fs::read_dir("/proc").unwrap();
        let mut pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.find(|pid| {
            let args = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            args.split(|b| *b == 0).any(|arg| arg == limit.as_bytes())
        })
        .map(Self)
    }

    pub fn path(self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.0).into()
    }

    /// A line of its status.
    pub fn status(self, key: &str) -> Option<String> {
        let status = fs::read_to_string(self.path("status")).ok()?;
        let value = |line: &str| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim().to_owned());
        status.lines().find_map(value)
    }

    /// True once it has taken the last step of its confinement.
    pub fn is_confined(self) -> bool {
        self.status("Seccomp").is_some_and(|mode| mode == "2")
    }
}

/// A blob that stops in the middle to let something be done.
pub struct Pausing<'a, F> {
    pub start: &'a [u8],
    pub meanwhile: Option<F>,
    pub rest: &'a [u8],
}

impl<F: FnOnce()> Read for Pausing<'_, F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let start = self.start.read(into)?;
        if start > 0 {
            return Ok(start);
        }
        if let Some(meanwhile) = self.meanwhile.take() {
            meanwhile();
        }
        self.rest.read(into)
    }
}
