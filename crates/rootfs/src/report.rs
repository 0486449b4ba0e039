//! What the process that unpacks tells the daemon: one message, read as if a stranger had written it.
//!
//! Numbers are little-endian; a text is its length as u32 and its bytes. Words the daemon's errors keep as constants
//! are interned, up to a bound.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

use model::Digest;

use crate::LayerInfo;
use crate::error::{TarError, UnpackError};
use crate::extract::{Borrowed, Extracted};
use crate::path::EntryPath;

/// What came of a layer, and the digest of its content.
pub(crate) type Outcome = Result<(Extracted, Digest), UnpackError>;

/// Longest report, bytes: three full lists of paths, and one of links.
pub(crate) const MAX_BYTES: usize = 24 << 20;

/// First bytes.
const FORM: &[u8; 8] = b"layer 2\n";
/// Most paths of a list.
const MAX_PATHS: u64 = 40_000;
/// Longest text believed, characters.
const MAX_TEXT: usize = 400;
/// Most words interned in the life of a process; there are a few dozen.
const MAX_WORDS: usize = 256;

const DONE: u8 = 0;
const READ: u8 = 1;
const TAR: u8 = 2;
const UNSAFE_PATH: u8 = 3;
const TOO_LARGE: u8 = 4;
const TOO_MANY: u8 = 5;
const ENTRY: u8 = 6;
const CONFINE: u8 = 7;
const RESERVE: u8 = 8;
const WORKER: u8 = 9;

/// The message.
pub(crate) fn encode(outcome: &Outcome) -> Vec<u8> {
    let mut out = Writer(FORM.to_vec());
    match outcome {
        Ok((extracted, digest)) => {
            out.byte(DONE);
            let LayerInfo {
                bytes,
                entries,
                devices_skipped,
                xattrs_skipped,
            } = extracted.info;
            for number in [bytes, entries, devices_skipped, xattrs_skipped] {
                out.number(number);
            }
            out.text(digest.as_str().as_bytes());
            out.byte(u8::from(extracted.root_explicit));
            for paths in [&extracted.implicit, &extracted.opaque, &extracted.whited] {
                out.number(paths.len() as u64);
                paths.iter().for_each(|path| out.text(path));
            }
            out.number(extracted.borrowed.len() as u64);
            for link in &extracted.borrowed {
                out.text(&link.path);
                out.text(&link.target);
            }
        }
        Err(error) => out.error(error),
    }
    out.0
}

/// Reads a message; `None` for one that is cut short or not of this form.
pub(crate) fn decode(message: &[u8]) -> Option<Outcome> {
    let mut from = Reader(message.strip_prefix(FORM)?);
    let outcome = match from.byte()? {
        DONE => Ok(from.done()?),
        kind => Err(from.error(kind)?),
    };
    from.0.is_empty().then_some(outcome)
}

struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&len.to_le_bytes());
        self.0.extend_from_slice(text);
    }

    fn words<'a>(&mut self, kind: u8, words: impl IntoIterator<Item = &'a str>) {
        self.byte(kind);
        words.into_iter().for_each(|word| self.text(word.as_bytes()));
    }

    fn io(&mut self, error: &io::Error) {
        self.number(
            error
                .raw_os_error()
                .map_or(0, |errno| u64::from(errno.cast_unsigned())),
        );
        self.byte(match error.kind() {
            io::ErrorKind::FileTooLarge => 1,
            io::ErrorKind::UnexpectedEof => 2,
            io::ErrorKind::InvalidData => 3,
            io::ErrorKind::InvalidInput => 4,
            _ => 0,
        });
        self.text(error.to_string().as_bytes());
    }

    fn error(&mut self, error: &UnpackError) {
        match error {
            UnpackError::Read(source) if source.kind() == io::ErrorKind::StorageFull => self.byte(RESERVE),
            UnpackError::Read(source) => {
                self.byte(READ);
                self.io(source);
            }
            UnpackError::Tar(error) => {
                self.byte(TAR);
                self.tar(error);
            }
            UnpackError::UnsafePath { path, why } => self.words(UNSAFE_PATH, [path.as_str(), why]),
            UnpackError::TooLarge { limit } => {
                self.byte(TOO_LARGE);
                self.number(*limit);
            }
            UnpackError::TooManyEntries { limit } => {
                self.byte(TOO_MANY);
                self.number(*limit);
            }
            UnpackError::Entry { action, path, source } => {
                self.words(ENTRY, [action, path.as_str()]);
                self.io(source);
            }
            UnpackError::Confine { step, source } => {
                self.words(CONFINE, [*step]);
                self.io(source);
            }
            UnpackError::Worker { how } => self.words(WORKER, [how.as_str()]),
            // The daemon's own.
            UnpackError::Digest { .. }
            | UnpackError::DiskFull { .. }
            | UnpackError::DiskReserve { .. }
            | UnpackError::Store(_) => self.words(WORKER, ["reported what it cannot know"]),
        }
    }

    fn tar(&mut self, error: &TarError) {
        match error {
            TarError::Truncated => self.byte(0),
            TarError::Checksum => self.byte(1),
            TarError::Field { field, path } => self.words(2, [field, path.as_str()]),
            TarError::Pax => self.byte(3),
            TarError::Metadata { limit } => {
                self.byte(4);
                self.number(*limit);
            }
            TarError::Sparse { path } => self.words(5, [path.as_str()]),
            TarError::Kind { kind, path } => self.words(6, [kind.to_string().as_str(), path.as_str()]),
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = u32::from_le_bytes(self.take(4)?.try_into().ok()?);
        self.take(usize::try_from(len).ok()?)
    }

    /// A text fit for a log line, whatever was written.
    fn text(&mut self) -> Option<String> {
        let text = String::from_utf8_lossy(self.bytes()?);
        let shown = text.chars().take(MAX_TEXT);
        Some(
            shown
                .map(|c| if c.is_control() { '\u{fffd}' } else { c })
                .collect(),
        )
    }

    fn word(&mut self) -> Option<&'static str> {
        static WORDS: Mutex<Words> = Mutex::new(Words::new());
        let word = self.text()?;
        Some(WORDS.lock().expect("no holder of this lock panics").intern(word))
    }

    fn io(&mut self) -> Option<io::Error> {
        let (errno, kind, text) = (self.number()?, self.byte()?, self.text()?);
        let kind = match kind {
            1 => io::ErrorKind::FileTooLarge,
            2 => io::ErrorKind::UnexpectedEof,
            3 => io::ErrorKind::InvalidData,
            4 => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::Other,
        };
        match i32::try_from(errno) {
            Ok(errno) if (1..4096).contains(&errno) => Some(io::Error::from_raw_os_error(errno)),
            _ => Some(io::Error::new(kind, text)),
        }
    }

    fn done(&mut self) -> Option<(Extracted, Digest)> {
        let info = LayerInfo {
            bytes: self.number()?,
            entries: self.number()?,
            devices_skipped: self.number()?,
            xattrs_skipped: self.number()?,
        };
        let digest = std::str::from_utf8(self.bytes()?).ok()?.parse().ok()?;
        let root_explicit = match self.byte()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let extracted = Extracted {
            info,
            root_explicit,
            implicit: self.paths()?,
            opaque: self.paths()?,
            whited: self.paths()?,
            borrowed: self.borrowed()?,
        };
        Some((extracted, digest))
    }

    /// Clean paths in order, each once.
    fn paths(&mut self) -> Option<Vec<Vec<u8>>> {
        let count = self.number()?;
        if count > MAX_PATHS {
            return None;
        }
        let mut paths: Vec<Vec<u8>> = Vec::new();
        for _ in 0..count {
            let path = self.bytes()?;
            let clean = EntryPath::parse(path).is_ok_and(|clean| clean.as_bytes() == path);
            let in_order = paths.last().is_none_or(|last| last.as_slice() < path);
            if !clean || !in_order {
                return None;
            }
            paths.push(path.to_vec());
        }
        Some(paths)
    }

    /// Links, in the order of the tar.
    fn borrowed(&mut self) -> Option<Vec<Borrowed>> {
        let count = self.number()?;
        let mut links = Vec::new();
        for _ in 0..count.min(MAX_PATHS + 1) {
            let (path, target) = (self.bytes()?, self.bytes()?);
            let clean = |path: &[u8]| {
                EntryPath::parse(path).is_ok_and(|clean| clean.as_bytes() == path && !clean.is_root())
            };
            if !clean(path) || !clean(target) {
                return None;
            }
            links.push(Borrowed {
                path: path.to_vec(),
                target: target.to_vec(),
            });
        }
        (count <= MAX_PATHS).then_some(links)
    }

    fn error(&mut self, kind: u8) -> Option<UnpackError> {
        Some(match kind {
            READ => UnpackError::Read(self.io()?),
            TAR => UnpackError::Tar(self.tar()?),
            UNSAFE_PATH => UnpackError::UnsafePath {
                path: self.text()?,
                why: self.word()?,
            },
            TOO_LARGE => UnpackError::TooLarge {
                limit: self.number()?,
            },
            TOO_MANY => UnpackError::TooManyEntries {
                limit: self.number()?,
            },
            ENTRY => UnpackError::Entry {
                action: self.word()?,
                path: self.text()?,
                source: self.io()?,
            },
            CONFINE => UnpackError::Confine {
                step: self.word()?,
                source: self.io()?,
            },
            // Where, and how much is free, the daemon fills in.
            RESERVE => UnpackError::DiskReserve {
                dir: PathBuf::new(),
                free_bytes: 0,
                reserve_bytes: 0,
                source: rustix::io::Errno::NOSPC.into(),
            },
            WORKER => UnpackError::Worker { how: self.text()? },
            _ => return None,
        })
    }

    fn tar(&mut self) -> Option<TarError> {
        Some(match self.byte()? {
            0 => TarError::Truncated,
            1 => TarError::Checksum,
            2 => TarError::Field {
                field: self.word()?,
                path: self.text()?,
            },
            3 => TarError::Pax,
            4 => TarError::Metadata {
                limit: self.number()?,
            },
            5 => TarError::Sparse { path: self.text()? },
            6 => TarError::Kind {
                kind: self.text()?.chars().next()?,
                path: self.text()?,
            },
            _ => return None,
        })
    }
}

/// The words of errors are constants of this program: one that says others fills the bound, and is not quoted.
struct Words(BTreeSet<&'static str>);

impl Words {
    const fn new() -> Self {
        Self(BTreeSet::new())
    }

    fn intern(&mut self, word: String) -> &'static str {
        if let Some(known) = self.0.get(word.as_str()) {
            return known;
        }
        if self.0.len() >= MAX_WORDS {
            return "(something it did not say clearly)";
        }
        let word: &'static str = Box::leak(word.into_boxed_str());
        self.0.insert(word);
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        Digest::from_sha256(&[7; 32])
    }

    fn done(implicit: &[&[u8]], opaque: &[&[u8]]) -> Vec<u8> {
        let list = |paths: &[&[u8]]| paths.iter().map(|path| path.to_vec()).collect();
        encode(&Ok((
            Extracted {
                info: LayerInfo {
                    bytes: 1,
                    entries: 2,
                    devices_skipped: 3,
                    xattrs_skipped: 4,
                },
                root_explicit: true,
                implicit: list(implicit),
                opaque: list(opaque),
                whited: list(&[b"w"]),
                borrowed: vec![Borrowed {
                    path: b"l".to_vec(),
                    target: b"t/\n".to_vec(),
                }],
            },
            digest(),
        )))
    }

    #[test]
    fn what_was_done_survives_and_cut_short_it_is_nothing() {
        let message = done(&[b"a", b"a/\n\xff"], &[b"", b"x"]);
        let (extracted, told) = decode(&message).unwrap().unwrap();
        assert_eq!(told, digest());
        assert_eq!(extracted.implicit, [b"a".to_vec(), b"a/\n\xff".to_vec()]);
        assert_eq!(extracted.opaque, [b"".to_vec(), b"x".to_vec()]);
        assert_eq!(extracted.whited, [b"w".to_vec()]);
        assert_eq!(extracted.borrowed[0].target, b"t/\n");
        assert_eq!((extracted.info.bytes, extracted.info.xattrs_skipped), (1, 4));
        for cut in 0..message.len() {
            assert!(decode(&message[..cut]).is_none(), "{cut}");
        }
        assert!(decode(&[message, vec![0]].concat()).is_none());
    }

    #[test]
    fn paths_that_lead_out_or_are_out_of_order_are_not_believed() {
        for paths in [
            [&b".."[..], b"x"],
            [b"/a", b"b"],
            [b"b", b"a"],
            [b"a", b"a"],
            [b"a/", b"b"],
        ] {
            assert!(decode(&done(&paths, &[])).is_none(), "{paths:?}");
            assert!(decode(&done(&[], &paths)).is_none(), "{paths:?}");
        }
    }

    #[test]
    fn errors_survive_as_what_they_are() {
        let path = || "a\\x1b".to_owned();
        let io = || io::Error::from(io::ErrorKind::UnexpectedEof);
        for error in [
            UnpackError::Read(io::Error::new(io::ErrorKind::FileTooLarge, "far too much")),
            UnpackError::Read(io()),
            UnpackError::Tar(TarError::Truncated),
            UnpackError::Tar(TarError::Checksum),
            UnpackError::Tar(TarError::Pax),
            UnpackError::Tar(TarError::Metadata { limit: 5 }),
            UnpackError::Tar(TarError::Sparse { path: path() }),
            UnpackError::Tar(TarError::Kind {
                kind: 'Q',
                path: path(),
            }),
            UnpackError::Tar(TarError::Field {
                field: "owner",
                path: path(),
            }),
            UnpackError::UnsafePath {
                path: path(),
                why: "it is not one",
            },
            UnpackError::TooLarge { limit: 7 },
            UnpackError::TooManyEntries { limit: 8 },
            UnpackError::Entry {
                action: "create",
                path: path(),
                source: rustix::io::Errno::NOSPC.into(),
            },
            UnpackError::Confine {
                step: "make its namespaces",
                source: rustix::io::Errno::PERM.into(),
            },
            UnpackError::Worker {
                how: "panicked".to_owned(),
            },
        ] {
            let shown = format!("{error:?}");
            let message = encode(&Err(error));
            let Some(Err(back)) = decode(&message) else {
                panic!("{shown}");
            };
            // An error of the system is compared by its words: a number and a kind are told apart by Debug.
            let (shown, back) = (shown.replace("Kind(UnexpectedEof)", ""), format!("{back:?}"));
            assert!(back == shown || shown.starts_with("Read()"), "{back} {shown}");
        }
    }

    #[test]
    fn hostile_words_are_cut_and_bounded() {
        let how = format!("\x1b[31m{}", "x".repeat(10_000));
        let Some(Err(UnpackError::Worker { how })) = decode(&encode(&Err(UnpackError::Worker { how })))
        else {
            panic!("not a worker's error");
        };
        assert_eq!(how.chars().count(), MAX_TEXT);
        assert!(!how.contains('\x1b'));
        let mut words = Words::new();
        let all: BTreeSet<_> = (0..1000).map(|n| words.intern(format!("word {n}"))).collect();
        assert!(all.len() <= MAX_WORDS + 1);
    }
}
