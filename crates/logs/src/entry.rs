//! One stored log line, and what many lines of a source have in common.

use std::sync::Arc;

use wire::v1::Envelope;

/// Which stream of the process a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Who wrote a line: equal for most lines of a source, hence stored once and shared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Index of the instance as text; empty for lines of the platform.
    pub instance_id: String,
    /// `APP/PROC/WEB`, `STG`, `RTR`…
    pub source_type: String,
    /// Tags sorted by name, without `source_type`.
    pub tags: Vec<(String, String)>,
}

/// A line as it is read back. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Nanoseconds since 1970; strictly increasing within a source.
    pub timestamp_ns: i64,
    /// Who wrote it.
    pub origin: Arc<Origin>,
    /// The line, without a line break at its end.
    pub payload: Arc<[u8]>,
    /// Where it was written.
    pub output: Output,
}

/// What an [`Entry`] costs beyond its payload: itself and the header of the shared bytes.
const ENTRY_BYTES: usize = size_of::<Entry>() + 16;

impl Entry {
    /// Memory accounted to this line alone.
    pub(crate) fn cost(&self) -> usize {
        ENTRY_BYTES + self.payload.len()
    }
}

impl Origin {
    /// Memory accounted to this origin, once per source.
    pub(crate) fn cost(&self) -> usize {
        let tags: usize = self
            .tags
            .iter()
            .map(|(k, v)| size_of::<(String, String)>() + k.len() + v.len())
            .sum();
        size_of::<Self>() + self.instance_id.len() + self.source_type.len() + tags
    }
}

/// An envelope taken apart; its time is still what the sender said.
pub(crate) fn split(envelope: Envelope) -> (Origin, Arc<[u8]>, Output) {
    let mut tags: Vec<_> = envelope
        .tags
        .into_iter()
        .filter(|(name, _)| name != "source_type")
        .collect();
    tags.sort_unstable();
    let origin = Origin {
        instance_id: envelope.instance_id,
        source_type: envelope.source_type,
        tags,
    };
    // A line break at the end would be shown by the CLI as a second, empty line.
    let mut line = envelope.payload.as_slice();
    while let Some(shorter) = line.strip_suffix(b"\n").or_else(|| line.strip_suffix(b"\r")) {
        line = shorter;
    }
    (
        origin,
        Arc::from(line),
        if envelope.error { Output::Err } else { Output::Out },
    )
}
