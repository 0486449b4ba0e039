//! The form of a line in a segment file.
//!
//! Segment: 8 bytes magic, then frames: length of the text (u32), stream (u8), time (i64), sequence number (u64), the
//! text; little-endian. A frame cut short by a crash is the last of its segment and is never read.

use std::time::SystemTime;

use super::lines::LONGEST_LINE;
use crate::record;

/// First bytes of a segment; the last one is the version of the form.
pub(super) const MAGIC: [u8; 8] = *b"SLIPLOG\x01";
const HEADER: usize = 4 + 1 + 8 + 8;

/// Where a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn tag(self) -> u8 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }
}

/// One line of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Its number, counted from 0 over both streams since the container's start.
    pub sequence: u64,
    /// Where it was written to.
    pub stream: Stream,
    /// When the shim read its end.
    pub at: SystemTime,
    /// Its bytes without the line end; at most 61440, arbitrary.
    pub text: Vec<u8>,
}

/// A segment whose bytes are no frames.
#[derive(Debug, thiserror::Error)]
#[error("damaged log segment")]
pub(super) struct Damaged;

/// Appends a frame to `out`.
pub(super) fn encode(out: &mut Vec<u8>, stream: Stream, at_nanos: i64, sequence: u64, text: &[u8]) {
    let length = u32::try_from(text.len()).expect("lines are cut long before 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.push(stream.tag());
    out.extend_from_slice(&at_nanos.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(text);
}

/// The first frame of `bytes` and its length there; `None` when it is not all there yet.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<(LogLine, usize)>, Damaged> {
    let Some((header, rest)) = bytes.split_at_checked(HEADER) else {
        return Ok(None);
    };
    let (length, header) = header.split_first_chunk::<4>().ok_or(Damaged)?;
    let (stream, header) = header.split_first().ok_or(Damaged)?;
    let (at, header) = header.split_first_chunk::<8>().ok_or(Damaged)?;
    let (sequence, _) = header.split_first_chunk::<8>().ok_or(Damaged)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Damaged)?;
    let stream = match stream {
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        _ => return Err(Damaged),
    };
    if length > LONGEST_LINE {
        return Err(Damaged);
    }
    let Some(text) = rest.get(..length) else {
        return Ok(None);
    };
    let line = LogLine {
        sequence: u64::from_le_bytes(*sequence),
        stream,
        at: record::time(i64::from_le_bytes(*at)),
        text: text.to_vec(),
    };
    Ok(Some((line, HEADER + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip_and_incomplete_ones_wait() {
        let mut bytes = Vec::new();
        encode(&mut bytes, Stream::Stderr, 5, 42, b"hello");
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).expect("not damaged").is_none(), "{cut}");
        }
        let (line, used) = decode(&bytes).expect("not damaged").expect("complete");
        assert_eq!(
            (line.sequence, line.stream, line.text.as_slice(), used),
            (42, Stream::Stderr, &b"hello"[..], 26)
        );
        bytes[4] = 9;
        assert!(decode(&bytes).is_err());
    }
}
