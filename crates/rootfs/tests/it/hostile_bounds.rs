//! Streams that want all time, memory or disk. Run in a process of its own, so that what it takes can be measured.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rootfs::{UnpackError, UnpackLimits};

use crate::corpus_tars::{Entry, dir, file, hard_link, odd, open_tar, whiteout};
use crate::room::{LIMITS, Room, listing};
use crate::tars::{Tar, gzip, layer, origin};

/// More than the process had before, and at most what one that unpacks for it has.
pub const MEMORY: u64 = 64 << 20;
/// For each of the streams; they take far less on an idle machine.
const TIME: Duration = Duration::from_secs(30);

/// Set in the process of its own.
const ALONE: &str = "SLIPWAY_TEST_ALONE";

#[test]
fn streams_of_bombs_stay_within_time_memory_and_disk() {
    alone("hostile_bounds::in_a_process_of_its_own");
}

/// Runs one test of this program in a process of its own.
pub fn alone(test: &str) {
    let own = std::env::current_exe().unwrap();
    let mut command = Command::new(own);
    let status = command
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, "1")
        .status();
    assert!(status.unwrap().success());
}

/// True in such a process.
pub fn is_alone() -> bool {
    std::env::var_os(ALONE).is_some()
}

/// A blob, and the words its refusal must have.
struct Case {
    name: &'static str,
    blob: Box<dyn Read>,
    refusal: &'static str,
}

fn case(name: &'static str, blob: impl Read + 'static, refusal: &'static str) -> Case {
    Case {
        name,
        blob: Box::new(blob),
        refusal,
    }
}

/// A piece again and again.
struct Again {
    piece: Vec<u8>,
    at: usize,
    times: u64,
}

fn again(piece: Vec<u8>, times: u64) -> Again {
    Again { piece, at: 0, times }
}

impl Read for Again {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            (self.at, self.times) = (0, self.times.saturating_sub(1));
        }
        if self.times == 0 {
            return Ok(0);
        }
        let got = (&self.piece[self.at..]).read(into)?;
        self.at += got;
        Ok(got)
    }
}

/// `count` entries, each made when it is read.
struct Entries<F> {
    make: F,
    next: u64,
    count: u64,
    ready: Vec<u8>,
    at: usize,
}

fn entries<F: FnMut(u64) -> Entry>(count: u64, make: F) -> Entries<F> {
    Entries {
        make,
        next: 0,
        count,
        ready: Vec::new(),
        at: 0,
    }
}

impl<F: FnMut(u64) -> Entry> Read for Entries<F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.ready.len() && self.next < self.count {
            self.ready = open_tar([(self.make)(self.next)]);
            (self.at, self.next) = (0, self.next + 1);
        }
        let got = (&self.ready[self.at..]).read(into)?;
        self.at += got;
        Ok(got)
    }
}

const TEN_MILLION: u64 = 10_000_000;
const ENTRY_LIMIT: u64 = 2000;
const FAR_MORE: &str = "decompresses to far more";
const ENTRIES: &str = "more than 2000 entries";

#[expect(clippy::too_many_lines, reason = "a table")]
fn bombs() -> Vec<Case> {
    let zeros = gzip(&vec![0; 16 << 20]);
    let frame = zstd::encode_all(&vec![0; 16 << 20][..], 3).unwrap();
    let start = gzip(&open_tar([file("x", "x")]));
    // Ten gigabytes of zeros in ten megabytes, behind an archive that has ended.
    let gzip_bomb = io::Cursor::new(start).chain(again(zeros.clone(), 640));
    let big = |size: u64| {
        let mut header = open_tar([file("big", "")]);
        header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        sum(&mut header);
        header
    };
    // A frame whose window is 2 GiB, then one block that repeats a byte.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 0b011, 0, 1, 0];
    let global = |_| Entry::pax(odd(b'g', "g"), "a", "b");
    vec![
        case("a gzip bomb", gzip_bomb, FAR_MORE),
        case(
            "a gzip bomb in a file",
            io::Cursor::new(gzip(&big(4 << 30))).chain(again(zeros, 640)),
            "more than 67108864 bytes",
        ),
        case("a zstd bomb", again(frame, 640), FAR_MORE),
        case(
            "a zstd window",
            io::Cursor::new(window),
            "cannot read or decompress",
        ),
        case("a plain bomb", again(vec![0; 1 << 20], 10_000), FAR_MORE),
        case(
            "a tar bomb",
            entries(100, |n| file(n.to_string(), vec![7; 1 << 20])),
            "more than 67108864 bytes",
        ),
        case(
            "ten million files",
            entries(TEN_MILLION, |n| file(n.to_string(), "")),
            ENTRIES,
        ),
        case(
            "ten million directories",
            entries(TEN_MILLION, |n| dir(format!("d/{n}/x"))),
            ENTRIES,
        ),
        case(
            "one entry ten million times",
            entries(TEN_MILLION, |_| dir("d")),
            ENTRIES,
        ),
        case(
            "ten million whiteouts",
            entries(TEN_MILLION, |n| whiteout("d/", &n.to_string())),
            ENTRIES,
        ),
        case(
            "ten million hard links",
            entries(TEN_MILLION, |n| hard_link(n.to_string(), "elsewhere")),
            ENTRIES,
        ),
        case(
            "ten million global headers",
            entries(TEN_MILLION, global),
            FAR_MORE,
        ),
        case(
            "ten million deep paths",
            entries(TEN_MILLION, |n| file(format!("{n}/{}", "d/".repeat(300)), "")),
            ENTRIES,
        ),
    ]
}

/// Writes the checksum of a header anew.
pub fn sum(header: &mut [u8]) {
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header[..512].iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn in_a_process_of_its_own() {
    if !is_alone() {
        return;
    }
    let room = Room::new();
    let neighbour = room.unpack(Tar::default().file("honest", "neighbour").symlink("l", "honest"));
    let root = room.assemble(std::slice::from_ref(&neighbour));
    let before = (
        listing(&root),
        listing(&room.layer_dir(&neighbour)),
        sizes(room.path()),
    );
    let limits = UnpackLimits {
        max_entries: ENTRY_LIMIT,
        ..LIMITS
    };
    for case in bombs() {
        let (started, memory) = (Instant::now(), Memory::watch());
        let error = room
            .store
            .unpack(&layer(b"anything"), &origin(), case.blob, limits)
            .unwrap_err();
        let (grown, took) = (memory.grown(), started.elapsed());
        let words = words(&error);
        assert!(words.contains(case.refusal), "{}: {words}", case.name);
        assert!(took < TIME, "{} took {took:?}", case.name);
        assert!(grown < MEMORY, "{} took {grown} bytes of memory", case.name);
        assert_eq!(
            sizes(room.path()),
            before.2,
            "{} left something on disk",
            case.name
        );
    }
    assert_eq!(room.store.layers().len(), 1);
    assert_eq!(
        (listing(&root), listing(&room.layer_dir(&neighbour))),
        (before.0, before.1)
    );
    room.clean();
    room.assert_clean();
}

/// The error with its causes.
pub fn words(error: &UnpackError) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// Every file of a directory with its blocks, instances apart.
fn sizes(dir: &Path) -> BTreeMap<String, u64> {
    let output = Command::new("find")
        .arg(dir.join("store"))
        .args(["-printf", "%P %b\\n"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| {
        line.rsplit_once(' ')
            .map(|(name, blocks)| (name.to_owned(), blocks.parse().unwrap()))
    };
    // Directories on ext4 keep the blocks they once needed.
    text.lines()
        .filter_map(line)
        .filter(|(name, _)| name != "tmp")
        .collect()
}

/// The most memory this process takes beyond what it had, or one it started takes at all.
pub struct Memory {
    had: u64,
    most_of_a_child: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    watcher: Option<std::thread::JoinHandle<()>>,
}

impl Memory {
    pub fn watch() -> Self {
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let (most_of_a_child, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (most, end) = (Arc::clone(&most_of_a_child), Arc::clone(&ended));
        let watcher = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                most.fetch_max(children().map(peak).max().unwrap_or(0), Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(5));
            }
        });
        Self {
            had: peak(std::process::id()),
            most_of_a_child,
            ended,
            watcher: Some(watcher),
        }
    }

    pub fn grown(mut self) -> u64 {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(watcher) = self.watcher.take() {
            watcher.thread().unpark();
            watcher.join().unwrap();
        }
        let own = peak(std::process::id()).saturating_sub(self.had);
        own.max(self.most_of_a_child.load(Ordering::Relaxed))
    }
}

/// Processes that this one started, and those they did.
fn children() -> impl Iterator<Item = u32> {
    let mut all = vec![std::process::id()];
    let mut at = 0;
    while let Some(pid) = all.get(at) {
        let threads = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten();
        let lists: Vec<_> = threads
            .filter_map(|t| fs::read_to_string(t.path().join("children")).ok())
            .collect();
        all.extend(
            lists
                .iter()
                .flat_map(|list| list.split_whitespace())
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
        at += 1;
    }
    all.into_iter().skip(1)
}

/// Most memory a process ever took, bytes.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}
