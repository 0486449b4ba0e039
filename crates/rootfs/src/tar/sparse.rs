//! Maps of sparse files: which pieces of a file have data in the archive.
//!
//! Facts: GNU tar manual, "Storing Sparse Files": the old GNU header, and pax versions 0.0, 0.1 and 1.0.

use std::io::BufRead;

use ::tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::{BLOCK, TarStream, pax};
use crate::error::{TarError, UnpackError};

/// Bound on the pieces of one file: 1 MiB of memory.
pub(crate) const MAX_EXTENTS: usize = 65_536;

/// A piece of a file that has data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// True when the pieces are in order, apart, within `size`, and make up the `stored` bytes exactly.
pub(super) fn is_consistent(extents: &[Extent], size: u64, stored: u64) -> bool {
    let (mut end, mut sum) = (0u64, 0u64);
    for extent in extents {
        let Some(next) = extent.offset.checked_add(extent.len) else {
            return false;
        };
        if extent.offset < end || next > size {
            return false;
        }
        end = next;
        sum += extent.len;
    }
    sum == stored
}

/// The old GNU form: four pieces in the header, more in blocks after it. Gives the real size and the map.
pub(super) fn old_gnu(
    header: &Header,
    mut block: impl FnMut() -> Result<[u8; BLOCK as usize], UnpackError>,
) -> Result<Option<(u64, Vec<Extent>)>, UnpackError> {
    let Some(gnu) = header.as_gnu() else {
        return Ok(None);
    };
    let Ok(size) = gnu.real_size() else {
        return Ok(None);
    };
    let mut extents = Vec::new();
    if !push_all(&mut extents, &gnu.sparse) {
        return Ok(None);
    }
    let mut more = gnu.is_extended();
    while more {
        let mut extension = GnuExtSparseHeader::new();
        extension.as_mut_bytes().copy_from_slice(&block()?);
        if !push_all(&mut extents, extension.sparse()) || extents.len() > MAX_EXTENTS {
            return Ok(None);
        }
        more = extension.is_extended();
    }
    Ok(Some((size, extents)))
}

/// False when a piece cannot be read. An extension may hold no piece at all, so the stream's own bound ends a loop
/// of empty ones.
fn push_all(extents: &mut Vec<Extent>, pieces: &[GnuSparseHeader]) -> bool {
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        let (Ok(offset), Ok(len)) = (piece.offset(), piece.length()) else {
            return false;
        };
        extents.push(Extent { offset, len });
    }
    true
}

/// Pax version 1.0: decimal lines in front of the data (count, then offset and length of each), padded to a block.
pub(super) fn leading_map<R: BufRead>(stream: &mut TarStream<R>) -> Result<Option<Vec<Extent>>, UnpackError> {
    let mut lines = Lines { stream, read: 0 };
    let Some(count) = lines
        .number()?
        .and_then(|n| usize::try_from(n).ok())
        .filter(|n| *n <= MAX_EXTENTS)
    else {
        return Ok(None);
    };
    let mut extents = Vec::new();
    for _ in 0..count {
        let (Some(offset), Some(len)) = (lines.number()?, lines.number()?) else {
            return Ok(None);
        };
        extents.push(Extent { offset, len });
    }
    lines.skip_padding()?;
    Ok(Some(extents))
}

struct Lines<'a, R> {
    stream: &'a mut TarStream<R>,
    read: u64,
}

impl<R: BufRead> Lines<'_, R> {
    /// One decimal line; `None` when it is something else.
    fn number(&mut self) -> Result<Option<u64>, UnpackError> {
        let mut digits = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => {
                    return Ok(if digits.is_empty() {
                        None
                    } else {
                        pax::number(&digits)
                    });
                }
                digit if digits.len() < 20 => digits.push(digit),
                _ => return Ok(None),
            }
        }
    }

    fn skip_padding(&mut self) -> Result<(), UnpackError> {
        while !self.read.is_multiple_of(BLOCK) {
            self.byte()?;
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, UnpackError> {
        let byte = *self.stream.data()?.first().ok_or(TarError::Truncated)?;
        self.stream.consume(1);
        self.read += 1;
        Ok(byte)
    }
}
