//! Pax extended headers: records of `length key=value\n`, read by their lengths.
//!
//! Rules: POSIX.1-2017 pax "Extended Header"; attribute keys `SCHILY.xattr.` from star; `GNU.sparse.` from GNU tar.
//! A malformed record spoils the whole header: guessing is how two readers come to see two archives.

use super::sparse::{self, Extent};

/// Start of a key that carries an extended attribute.
const XATTR: &[u8] = b"SCHILY.xattr.";
/// Most attributes of one entry; filesystems keep fewer.
const MAX_XATTRS: usize = 256;

/// The records that matter to an extractor.
#[derive(Debug, Default)]
pub(super) struct Pax {
    path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseRecords,
}

/// GNU's three ways to tell a sparse file in pax records.
#[derive(Debug, Default)]
pub(super) struct SparseRecords {
    major: Option<u64>,
    name: Option<Vec<u8>>,
    /// Size with the holes.
    pub(super) real_size: Option<u64>,
    numbers: Vec<u64>,
}

impl SparseRecords {
    /// Version 1: the map lies in front of the data.
    pub(super) fn is_version_1(&self) -> bool {
        self.major == Some(1)
    }

    /// Versions 0.0 and 0.1: the map is in the records. `None` when there is none.
    pub(super) fn map(&self) -> Option<Vec<Extent>> {
        let pairs = self.numbers.chunks_exact(2);
        let sparse = self.real_size.is_some() && pairs.remainder().is_empty();
        sparse.then(|| {
            pairs
                .filter_map(|p| {
                    Some(Extent {
                        offset: *p.first()?,
                        len: *p.get(1)?,
                    })
                })
                .collect()
        })
    }
}

impl Pax {
    /// The entry's real name: a sparse file's `path` is made up by the writer.
    pub(super) fn name(&self) -> Option<&[u8]> {
        self.sparse.name.as_deref().or(self.path.as_deref())
    }

    /// Reads all records; `None` when one is malformed.
    pub(super) fn parse(mut block: &[u8]) -> Option<Self> {
        let mut pax = Self::default();
        while !block.is_empty() && block.first() != Some(&0) {
            let blank = block.iter().position(|b| *b == b' ')?;
            let len = usize::try_from(number(block.get(..blank)?)?).ok()?;
            let record = block.get(blank + 1..len)?.strip_suffix(b"\n")?;
            block = block.get(len..)?;
            let equals = record.iter().position(|b| *b == b'=')?;
            pax.record(record.get(..equals)?, record.get(equals + 1..)?)?;
        }
        Some(pax)
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        if let Some(name) = key.strip_prefix(XATTR) {
            self.xattrs.retain(|(known, _)| known != name);
            if name.is_empty() || name.contains(&0) || self.xattrs.len() >= MAX_XATTRS {
                return None;
            }
            self.xattrs.push((name.to_vec(), value.to_vec()));
            return Some(());
        }
        // An empty value takes back what an earlier header said; there is nothing to take back here.
        let text = (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = text,
            b"linkpath" => self.link_path = text,
            b"size" => self.size = optional(value, number)?,
            b"uid" => self.uid = optional(value, number)?,
            b"gid" => self.gid = optional(value, number)?,
            b"mtime" => self.mtime = optional(value, time)?,
            b"GNU.sparse.major" => self.sparse.major = optional(value, number)?,
            b"GNU.sparse.name" => self.sparse.name = text,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.real_size = optional(value, number)?,
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.sparse.numbers.push(number(value)?),
            b"GNU.sparse.map" => {
                self.sparse.numbers = value.split(|b| *b == b',').map(number).collect::<Option<_>>()?;
            }
            _ => {}
        }
        (self.sparse.numbers.len() <= 2 * sparse::MAX_EXTENTS).then_some(())
    }
}

/// Outer `None`: malformed; inner `None`: empty.
fn optional<T>(value: &[u8], read: fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
    if value.is_empty() {
        Some(None)
    } else {
        read(value).map(Some)
    }
}

/// A decimal number, digits only.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

/// Seconds since 1970 with an optional fraction and sign, as whole seconds below and nanoseconds above.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = i64::try_from(number(whole.as_bytes())?).ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0u32, |n, b| n * 10 + u32::from(b - b'0'));
    Some(match (negative, nanos) {
        (false, _) => (whole, nanos),
        (true, 0) => (-whole, 0),
        (true, _) => (-whole - 1, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_hold_newlines_and_look_like_records() {
        let block = b"34 SCHILY.xattr.user.a=\n10 path=x\n9 path=y\n";
        assert_eq!(block[..34].last(), Some(&b'\n'));
        let pax = Pax::parse(block).unwrap();
        assert_eq!(pax.name(), Some(&b"y"[..]));
        assert_eq!(pax.xattrs, [(b"user.a".to_vec(), b"\n10 path=x".to_vec())]);
    }

    #[test]
    fn malformed_records_spoil_the_header() {
        for block in [
            &b"9 path=y"[..],
            b"99 path=y\n",
            b"x path=y\n",
            b"7 path\n",
            b"0 path=y\n",
            b"-9 path=y\n",
            b"8 uid=x\n\n",
        ] {
            assert!(Pax::parse(block).is_none(), "{}", block.escape_ascii());
        }
    }

    #[test]
    fn times_have_fractions_and_signs() {
        for (text, want) in [
            ("5", (5, 0)),
            ("5.5", (5, 500_000_000)),
            ("-5.25", (-6, 750_000_000)),
            ("-5", (-5, 0)),
        ] {
            assert_eq!(time(text.as_bytes()), Some(want), "{text}");
        }
        assert_eq!(time(b"1.2.3"), None);
        assert_eq!(time(b"99999999999999999999"), None);
    }
}
