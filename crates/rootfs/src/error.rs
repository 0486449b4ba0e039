//! What can go wrong, per family: keeping layers, unpacking one, assembling a root filesystem.
//!
//! Paths that came out of an image are hostile text: they are shown escaped and cut.

use std::io;
use std::path::PathBuf;

use model::Digest;

/// Bytes of a foreign path shown in an error before it is cut.
const SHOWN_BYTES: usize = 200;

/// A foreign path made fit for a log line: escaped, at most [`SHOWN_BYTES`] of it.
pub(crate) fn shown(path: &[u8]) -> String {
    let cut = path.get(..SHOWN_BYTES).unwrap_or(path);
    let more = if cut.len() < path.len() { "…" } else { "" };
    format!("{}{more}", cut.escape_ascii())
}

/// The layer store on disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the store.
    #[error("layer store {dir} is in use by another process; stop it or choose another data directory")]
    Busy {
        /// The store's directory.
        dir: PathBuf,
    },
    /// The system refused an operation on the store.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried, a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Why an archive is not a tar this platform reads.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The archive ends inside an entry.
    #[error("the archive ends in the middle of an entry")]
    Truncated,
    /// A header's checksum is wrong: damaged, or not a tar at all.
    #[error("an entry's header has a wrong checksum: the archive is damaged or not a tar")]
    Checksum,
    /// A field cannot be read.
    #[error("the {field} of entry {path} is not valid")]
    Field {
        /// Which field.
        field: &'static str,
        /// Of which entry, escaped.
        path: String,
    },
    /// A pax extended header breaks the rules of its format.
    #[error("a pax extended header is malformed")]
    Pax,
    /// Long names and attributes of one entry exceed the bound.
    #[error("names and attributes of one entry exceed {limit} bytes")]
    Metadata {
        /// The bound, bytes.
        limit: u64,
    },
    /// A sparse file's map is contradictory or has too many pieces.
    #[error("the sparse map of entry {path} is contradictory or too long")]
    Sparse {
        /// Which entry, escaped.
        path: String,
    },
    /// An entry type no extractor of images handles.
    #[error("entry {path} has the unknown type {kind:?}")]
    Kind {
        /// The type byte.
        kind: char,
        /// Which entry, escaped.
        path: String,
    },
}

/// A layer cannot become a directory. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The blob cannot be read or decompressed.
    #[error("cannot read or decompress the layer")]
    Read(#[source] io::Error),
    /// The archive is malformed.
    #[error("the layer is not a valid tar archive")]
    Tar(#[from] TarError),
    /// The uncompressed content is not what the image's config names.
    #[error(
        "layer content has digest {actual}, the image names {expected}; the image or the registry is damaged"
    )]
    Digest {
        /// What the config says.
        expected: Digest,
        /// What the bytes are.
        actual: Digest,
    },
    /// An entry would leave the layer's directory, or cannot be a path.
    #[error("entry {path} is refused: {why}")]
    UnsafePath {
        /// The entry's path, escaped.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The layer's files are larger than allowed.
    #[error("the layer unpacks to more than {limit} bytes; raise the disk limit or use a smaller image")]
    TooLarge {
        /// The limit, bytes.
        limit: u64,
    },
    /// The layer has more files and directories than allowed.
    #[error("the layer has more than {limit} entries; use an image with fewer files")]
    TooManyEntries {
        /// The limit.
        limit: u64,
    },
    /// The host refused an operation for one entry.
    #[error("cannot {action} entry {path}")]
    Entry {
        /// What was tried, a verb.
        action: &'static str,
        /// The entry's path, escaped.
        path: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The file system of the store is full.
    #[error(
        "the disk is full: {dir} has {free_bytes} bytes and {free_inodes} inodes left; free some space, or give \
         the data directory a larger disk"
    )]
    DiskFull {
        /// The store.
        dir: PathBuf,
        /// Bytes free while the layer was half unpacked.
        free_bytes: u64,
        /// Inodes free then; some file systems have no fixed number and say 0.
        free_inodes: u64,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Going on would have used up what is kept free for the host.
    #[error(
        "the disk is nearly full: {dir} has {free_bytes} bytes left, of which {reserve_bytes} are kept for the host; \
         free some space, or give the data directory a larger disk"
    )]
    DiskReserve {
        /// The store.
        dir: PathBuf,
        /// Bytes free.
        free_bytes: u64,
        /// Bytes that must stay free.
        reserve_bytes: u64,
        /// Says that there is no room, as the system would.
        #[source]
        source: io::Error,
    },
    /// The process that unpacks cannot be started or not be confined; nothing is unpacked without.
    #[error(
        "the process that unpacks layers cannot {step}; this host must allow root to make user, mount, network, ipc \
         and uts namespaces (see user.max_user_namespaces) and to install system call filters"
    )]
    Confine {
        /// What was tried, a verb.
        step: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The process that unpacks ended without a result.
    #[error("the process that unpacks the layer {how}")]
    Worker {
        /// What it did, a verb.
        how: String,
    },
    /// The store itself failed.
    #[error("the layer store failed")]
    Store(#[from] StoreError),
}

impl UnpackError {
    /// For `map_err` on a system call made for the entry `path`.
    pub(crate) fn entry<E: Into<io::Error>>(action: &'static str, path: &[u8]) -> impl FnOnce(E) -> Self {
        // Made for every call, used for the one that fails: so the path is written out only then.
        move |source| Self::Entry {
            action,
            path: shown(path),
            source: source.into(),
        }
    }
}

/// A root filesystem cannot be assembled. What was made on the way has been undone.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// A layer is not in the store.
    #[error("layer {0} is not unpacked on this cell; fetch the image again")]
    MissingLayer(Digest),
    /// A layer has a hard link to a file that no layer below it has.
    #[error("the layer in {layer} has a hard link {path} to {target}, which is not a file of the image")]
    MissingLink {
        /// The layer's directory.
        layer: PathBuf,
        /// The link, escaped.
        path: String,
        /// What it should be another name of, escaped.
        target: String,
    },
    /// The id range would reach the host's own ids, is empty or leaves the 32-bit space.
    #[error(
        "id range {first}+{size} is not usable: it must start above 0, be non-empty and end below 4294967295"
    )]
    IdRange {
        /// First host id.
        first: u32,
        /// How many.
        size: u32,
    },
    /// The instance directory or the target still carries an earlier root filesystem.
    #[error("{path} still holds an earlier root filesystem; unmount and discard it first")]
    Leftover {
        /// Where.
        path: PathBuf,
    },
    /// More layers than this kernel's mount call takes.
    #[error(
        "{count} layers are more than this kernel can stack; flatten the image or use Linux 6.13 or newer"
    )]
    TooManyLayers {
        /// How many were asked for.
        count: usize,
    },
    /// The kernel refused a step of mounting.
    #[error("cannot {step}{}", explain(.message))]
    Mount {
        /// What was tried, a verb.
        step: &'static str,
        /// The kernel's own words, may be empty.
        message: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The system refused an operation on a directory of the instance.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried, a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

fn explain(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(" (kernel: {message})")
    }
}

/// The upper directory cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// Nested deeper than the walk follows: only a hostile instance does that.
    #[error("{path} is nested deeper than {limit} directories; treat the instance as over its disk limit")]
    TooDeep {
        /// The upper directory.
        path: PathBuf,
        /// The bound.
        limit: usize,
    },
    /// More entries than the walk counts.
    #[error("{path} has more than {limit} entries; treat the instance as over its disk limit")]
    TooManyEntries {
        /// The upper directory.
        path: PathBuf,
        /// The bound.
        limit: u64,
    },
    /// The system refused.
    #[error("cannot measure {path}")]
    Io {
        /// The upper directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_paths_are_escaped_and_cut() {
        assert_eq!(shown(b"a\x1b[31m\nb"), "a\\x1b[31m\\nb");
        assert!(shown(&[b'a'; 5000]).chars().count() <= SHOWN_BYTES + 1);
    }
}
