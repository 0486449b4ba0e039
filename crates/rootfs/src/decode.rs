//! From a blob to the bytes of its tar: decompression, a bound against bombs, the digest of what came out.
//!
//! The packing is recognised by its first bytes, as the reference's tools do: registries serve layers whose media
//! type is wrong, and the digest of the content decides in the end.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use model::Digest;
use sha2::{Digest as _, Sha256};

/// Bytes moved at a time.
const CHUNK: usize = 128 * 1024;
/// Largest zstd window accepted, as a power of two: what the `zstd` tool decodes without extra flags (128 MiB).
const ZSTD_WINDOW_LOG: u32 = 27;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A skippable frame may come first: 0x184D2A50 to 0x184D2A5F, little-endian (RFC 8878, 3.1.2).
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

/// The uncompressed bytes of a layer, hashed and counted as they pass.
pub(crate) struct Content<'a> {
    inner: BufReader<Hashed<'a>>,
}

struct Hashed<'a> {
    plain: Box<dyn Read + 'a>,
    hash: Sha256,
    left: u64,
}

impl<'a> Content<'a> {
    /// Reads `blob`; more than `max_bytes` uncompressed is an error.
    pub(crate) fn new(mut blob: impl Read + 'a, max_bytes: u64) -> io::Result<Self> {
        let mut start = Vec::with_capacity(4);
        (&mut blob).take(4).read_to_end(&mut start)?;
        let kind = Packing::of(&start);
        let blob = BufReader::with_capacity(CHUNK, Cursor::new(start).chain(blob));
        let plain: Box<dyn Read + 'a> = match kind {
            Packing::Plain => Box::new(blob),
            Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(blob)),
            Packing::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(blob)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        };
        let hashed = Hashed {
            plain,
            hash: Sha256::new(),
            left: max_bytes,
        };
        Ok(Self {
            inner: BufReader::with_capacity(CHUNK, hashed),
        })
    }

    /// Reads to the end, so that every byte of the blob has been seen, and tells the digest of the whole.
    pub(crate) fn finish(mut self) -> io::Result<Digest> {
        loop {
            let seen = self.fill_buf()?.len();
            if seen == 0 {
                break;
            }
            self.consume(seen);
        }
        Ok(Digest::from_sha256(
            &self.inner.into_inner().hash.finalize().into(),
        ))
    }
}

impl Read for Content<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.inner.read(into)
    }
}

impl BufRead for Content<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
    }
}

impl Read for Hashed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.plain.read(into)?;
        self.left = self.left.checked_sub(got as u64).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the layer decompresses to far more than its limits allow",
            )
        })?;
        self.hash.update(into.get(..got).unwrap_or_default());
        Ok(got)
    }
}

#[derive(Debug, PartialEq)]
enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    fn of(start: &[u8]) -> Self {
        if start.starts_with(&GZIP) {
            Self::Gzip
        } else if start == ZSTD || (start.len() == 4 && start.ends_with(&ZSTD_SKIPPABLE)) {
            Self::Zstd
        } else {
            Self::Plain
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn digest_of(blob: &[u8]) -> io::Result<String> {
        Content::new(blob, 1 << 20)?.finish().map(|d| d.to_string())
    }

    #[test]
    fn every_packing_gives_the_same_digest() {
        let data = vec![7u8; 300_000];
        let plain = digest_of(&data).unwrap();
        let mut two_members = gzip(&data[..100]);
        two_members.extend(gzip(&data[100..]));
        let mut two_frames = zstd::encode_all(&data[..100], 0).unwrap();
        two_frames.extend(zstd::encode_all(&data[100..], 0).unwrap());
        for blob in [
            gzip(&data),
            two_members,
            zstd::encode_all(&data[..], 0).unwrap(),
            two_frames,
        ] {
            assert_eq!(digest_of(&blob).unwrap(), plain);
        }
        assert!(
            digest_of(b"").unwrap().ends_with("b855"),
            "an empty blob is an empty tar"
        );
    }

    #[test]
    fn truncated_and_bombs_are_errors() {
        let data: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        for blob in [gzip(&data), zstd::encode_all(&data[..], 0).unwrap()] {
            assert!(digest_of(&blob[..blob.len() - 5]).is_err());
        }
        let bomb = gzip(&vec![0u8; 4 << 20]);
        assert_eq!(digest_of(&bomb).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
