//! The fields of one header, after the extended headers before it had their say.

use ::tar::Header;

use super::Preface;
use crate::error::{TarError, shown};

/// Largest owner id: the one above means "leave it" to chown(2).
const MAX_ID: u64 = u32::MAX as u64 - 1;

/// The fields every entry has.
pub(super) struct Fields {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    /// Type byte; old spellings of a regular file are `0`.
    pub(super) kind: u8,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: (i64, u32),
    pub(super) size: u64,
}

impl Fields {
    /// Reads `header`; values of the preface win.
    pub(super) fn read(header: &Header, preface: &Preface) -> Result<Self, TarError> {
        let pax = &preface.pax;
        let path = preface
            .long_name
            .clone()
            .or_else(|| pax.name().map(<[u8]>::to_vec));
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = preface.long_link.clone().or_else(|| pax.link_path.clone());
        let link = link.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
        let bad = |field| TarError::Field {
            field,
            path: shown(&path),
        };
        let owner = |given: Option<u64>, own: std::io::Result<u64>, field| {
            let id = given
                .or(own.ok())
                .filter(|id| *id <= MAX_ID)
                .ok_or_else(|| bad(field))?;
            u32::try_from(id).map_err(|_| bad(field))
        };
        let kind = match header.entry_type().as_byte() {
            // A trailing slash made a directory before there was a type for it.
            b'0' | b'\0' if path.ends_with(b"/") => b'5',
            b'0' | b'\0' | b'7' => b'0',
            kind @ (b'1'..=b'6' | b'S') => kind,
            kind => {
                return Err(TarError::Kind {
                    kind: char::from(kind),
                    path: shown(&path),
                });
            }
        };
        // Base 256 has a sign, and what the `tar` crate gives are its lowest 64 bits.
        let seconds = header.mtime().map_or(0, u64::cast_signed);
        Ok(Self {
            uid: owner(pax.uid, header.uid(), "owner")?,
            gid: owner(pax.gid, header.gid(), "group")?,
            mode: header.mode().map_err(|_| bad("mode"))? & 0o7777,
            mtime: pax.mtime.unwrap_or((seconds, 0)),
            size: pax.size.or(header.entry_size().ok()).ok_or_else(|| bad("size"))?,
            kind,
            link,
            path,
        })
    }

    /// True where data follows the header.
    pub(super) fn has_data(&self) -> bool {
        matches!(self.kind, b'0' | b'S')
    }
}

/// The checksum with its own field taken as blanks; both the unsigned sum and the signed one of old writers count.
pub(super) fn checksum_matches(header: &Header) -> bool {
    let Ok(want) = header.cksum() else { return false };
    let (mut unsigned, mut signed) = (0u32, 0i32);
    for (at, byte) in header.as_bytes().iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { *byte };
        unsigned += u32::from(byte);
        signed += i32::from(byte.cast_signed());
    }
    // A fuzzer cannot guess sums; behind them is what it should reach.
    cfg!(fuzzing) || want == unsigned || i32::try_from(want) == Ok(signed)
}
