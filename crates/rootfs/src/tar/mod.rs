//! A stream of tar entries: ustar, GNU and pax, with every length checked before anything is allocated.
//!
//! The header's fields are read by the `tar` crate; the stream is our own, because that crate keeps extended headers
//! of any size in memory, and splits pax records at newlines, which breaks binary attributes such as
//! `security.capability` and lets an attribute's value pass for a path. Where readers disagree this one follows Go's
//! `archive/tar`, which the reference's tools use: links, directories and devices have no data whatever their size
//! field says, GNU long names win over pax ones, global pax headers are skipped.

mod header;
mod pax;
mod sparse;

use std::io::{self, BufRead};

use ::tar::Header;

pub(crate) use sparse::Extent;

use crate::error::{TarError, UnpackError, shown};
use pax::Pax;

const BLOCK: u64 = 512;
/// Bound on the names and attributes of one entry, bytes; Go's reader has the same.
const MAX_METADATA: u64 = 1 << 20;

/// What an entry is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file of `size` bytes; only the extents have data, in this order, the rest are holes.
    File {
        size: u64,
        extents: Vec<Extent>,
    },
    Directory,
    Symlink {
        target: Vec<u8>,
    },
    /// Another name of an entry that came before.
    HardLink {
        target: Vec<u8>,
    },
    Fifo,
    /// A character or block device.
    Device,
}

/// One entry, as written: nothing is checked but the form.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970 and nanoseconds.
    pub(crate) mtime: (i64, u32),
    /// Extended attributes: name, value.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The archive, positioned inside one entry's data at most.
pub(crate) struct TarStream<R> {
    input: R,
    /// Data bytes of the current entry not read yet.
    data_left: u64,
    padding: u64,
    ended: bool,
}

/// Names that precede the entry they belong to.
#[derive(Default)]
struct Preface {
    pax: Pax,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    bytes: u64,
}

impl<R: BufRead> TarStream<R> {
    /// Starts at the first header.
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            data_left: 0,
            padding: 0,
            ended: false,
        }
    }

    /// The next entry, or `None` at the end of the archive. Unread data of the entry before is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, UnpackError> {
        self.skip_rest()?;
        let mut preface = Preface::default();
        while !self.ended {
            let Some(header) = self.header()? else { break };
            match header.entry_type().as_byte() {
                b'L' => preface.long_name = Some(self.name_block(&header, &mut preface.bytes)?),
                b'K' => preface.long_link = Some(self.name_block(&header, &mut preface.bytes)?),
                b'x' => {
                    let block = self.block(&header, &mut preface.bytes)?;
                    preface.pax = Pax::parse(&block).ok_or(TarError::Pax)?;
                }
                // Global pax headers and GNU volume labels describe the archive, not an entry.
                b'g' | b'V' => {
                    self.begin_data(header.entry_size().map_err(|_| TarError::Pax)?);
                    self.skip_rest()?;
                }
                _ => return self.entry(&header, preface).map(Some),
            }
        }
        self.ended = true;
        // What was said about an entry that never came.
        if preface.bytes > 0 {
            Err(TarError::Truncated.into())
        } else {
            Ok(None)
        }
    }

    /// A piece of the current entry's data, never empty before its end.
    pub(crate) fn data(&mut self) -> Result<&[u8], UnpackError> {
        if self.data_left == 0 {
            return Ok(&[]);
        }
        let piece = self.input.fill_buf().map_err(UnpackError::Read)?;
        if piece.is_empty() {
            return Err(TarError::Truncated.into());
        }
        let len = usize::try_from(self.data_left)
            .unwrap_or(usize::MAX)
            .min(piece.len());
        Ok(piece.get(..len).unwrap_or_default())
    }

    /// Marks `amount` bytes of the piece last given by [`Self::data`] as read.
    pub(crate) fn consume(&mut self, amount: usize) {
        self.input.consume(amount);
        self.data_left = self.data_left.saturating_sub(amount as u64);
    }

    /// The rest of the input, after the end of the archive.
    pub(crate) fn into_inner(self) -> R {
        self.input
    }

    fn entry(&mut self, header: &Header, preface: Preface) -> Result<Entry, UnpackError> {
        let fields = header::Fields::read(header, &preface)?;
        self.begin_data(if fields.has_data() { fields.size } else { 0 });
        let kind = match fields.kind {
            b'1' => Kind::HardLink { target: fields.link },
            b'2' => Kind::Symlink { target: fields.link },
            b'3' | b'4' => Kind::Device,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            _ => self.file(header, &preface.pax, fields.size, &fields.path)?,
        };
        let xattrs = preface.pax.xattrs;
        let header::Fields {
            path,
            mode,
            uid,
            gid,
            mtime,
            ..
        } = fields;
        Ok(Entry {
            path,
            kind,
            mode,
            uid,
            gid,
            mtime,
            xattrs,
        })
    }

    /// A regular file; where it is sparse, the map in front of its data is read too.
    fn file(&mut self, header: &Header, pax: &Pax, stored: u64, path: &[u8]) -> Result<Kind, UnpackError> {
        let bad = || UnpackError::from(TarError::Sparse { path: shown(path) });
        let (size, extents) = if header.entry_type().is_gnu_sparse() {
            // The extension blocks lie before the data and are not part of its size.
            let (data, padding) = (self.data_left, self.padding);
            let map = sparse::old_gnu(header, || self.raw_block())?.ok_or_else(bad)?;
            (self.data_left, self.padding) = (data, padding);
            map
        } else if pax.sparse.is_version_1() {
            let map = sparse::leading_map(self)?.ok_or_else(bad)?;
            (pax.sparse.real_size.ok_or_else(bad)?, map)
        } else if let Some(map) = pax.sparse.map() {
            (pax.sparse.real_size.ok_or_else(bad)?, map)
        } else {
            return Ok(Kind::File {
                size: stored,
                extents: vec![Extent {
                    offset: 0,
                    len: stored,
                }],
            });
        };
        if !sparse::is_consistent(&extents, size, self.data_left) {
            return Err(bad());
        }
        Ok(Kind::File { size, extents })
    }

    /// The next header, or `None` at the end: a zero block, or no block at all.
    fn header(&mut self) -> Result<Option<Header>, UnpackError> {
        let mut header = Header::new_old();
        let mut first = [0u8; 1];
        if self.input.read(&mut first).map_err(UnpackError::Read)? == 0 {
            return Ok(None);
        }
        let bytes = header.as_mut_bytes();
        let (head, rest) = bytes.split_at_mut(1);
        head.copy_from_slice(&first);
        self.input.read_exact(rest).map_err(truncated)?;
        if bytes.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        if !header::checksum_matches(&header) {
            return Err(TarError::Checksum.into());
        }
        Ok(Some(header))
    }

    fn raw_block(&mut self) -> Result<[u8; BLOCK as usize], UnpackError> {
        let mut block = [0u8; BLOCK as usize];
        self.input.read_exact(&mut block).map_err(truncated)?;
        Ok(block)
    }

    /// The data of an extended header; `spent` bounds all of one entry's together.
    fn block(&mut self, header: &Header, spent: &mut u64) -> Result<Vec<u8>, UnpackError> {
        let too_long = || TarError::Metadata { limit: MAX_METADATA };
        let size = header.entry_size().map_err(|_| TarError::Pax)?;
        *spent = spent
            .checked_add(size)
            .filter(|sum| *sum <= MAX_METADATA)
            .ok_or_else(too_long)?;
        self.begin_data(size);
        let mut block = Vec::with_capacity(usize::try_from(size).map_err(|_| too_long())?);
        while self.data_left > 0 {
            let piece = self.data()?;
            block.extend_from_slice(piece);
            let len = piece.len();
            self.consume(len);
        }
        self.skip_rest()?;
        Ok(block)
    }

    /// A GNU long name: the name ends at the first NUL.
    fn name_block(&mut self, header: &Header, spent: &mut u64) -> Result<Vec<u8>, UnpackError> {
        let mut name = self.block(header, spent)?;
        let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    fn begin_data(&mut self, size: u64) {
        self.data_left = size;
        self.padding = size.wrapping_neg() % BLOCK;
    }

    fn skip_rest(&mut self) -> Result<(), UnpackError> {
        while self.data_left > 0 {
            let len = self.data()?.len();
            self.consume(len);
        }
        self.data_left = std::mem::take(&mut self.padding);
        while self.data_left > 0 {
            // Some writers leave out the padding of the last entry and the end blocks; the tar is whole all the same,
            // and other readers take it. Its digest is checked in any case.
            if self.input.fill_buf().map_err(UnpackError::Read)?.is_empty() {
                self.data_left = 0;
                break;
            }
            let len = self.data()?.len();
            self.consume(len);
        }
        Ok(())
    }
}

fn truncated(error: io::Error) -> UnpackError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => TarError::Truncated.into(),
        _ => UnpackError::Read(error),
    }
}

#[cfg(test)]
mod tests;
