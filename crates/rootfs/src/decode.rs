//! From a blob to the bytes of its tar: decompression, and a bound against bombs.
//!
//! The packing is recognised by its first bytes, as the reference's tools do: registries serve layers whose media
//! type is wrong, and the digest of the content decides in the end.

use std::io::{self, BufReader, Cursor, Read};

/// Compressed bytes read at a time.
const CHUNK: usize = 256 * 1024;
/// Largest zstd window accepted, as a power of two: 32 MiB. Builders of images use at most this; the decoder keeps
/// the window in memory, which is bounded for all layers alike.
const ZSTD_WINDOW_LOG: u32 = 25;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A skippable frame may come first: 0x184D2A50 to 0x184D2A5F, little-endian (RFC 8878, 3.1.2).
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

/// The uncompressed bytes of a layer, counted as they pass. Reads fill the whole of large buffers at best.
pub(crate) struct Plain<'a> {
    inner: Box<dyn Read + 'a>,
    left: u64,
}

impl<'a> Plain<'a> {
    /// Reads `blob`; more than `max_bytes` uncompressed is an error.
    pub(crate) fn new(mut blob: impl Read + 'a, max_bytes: u64) -> io::Result<Self> {
        let mut start = Vec::with_capacity(4);
        (&mut blob).take(4).read_to_end(&mut start)?;
        let kind = Packing::of(&start);
        let blob = BufReader::with_capacity(CHUNK, Cursor::new(start).chain(blob));
        let inner: Box<dyn Read + 'a> = match kind {
            Packing::Plain => Box::new(blob),
            Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(blob)),
            Packing::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(blob)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        };
        Ok(Self {
            inner,
            left: max_bytes,
        })
    }
}

impl Read for Plain<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(into)?;
        self.left = self.left.checked_sub(got as u64).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the layer decompresses to far more than its limits allow",
            )
        })?;
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

    fn plain(blob: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        Plain::new(blob, 1 << 20)?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn every_packing_gives_the_same_bytes() {
        let data = vec![7u8; 300_000];
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
            assert!(plain(&blob).unwrap() == data);
        }
        assert!(plain(&data).unwrap() == data);
        assert!(plain(b"").unwrap().is_empty(), "an empty blob is an empty tar");
    }

    #[test]
    fn truncated_and_bombs_are_errors() {
        let data: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        for blob in [gzip(&data), zstd::encode_all(&data[..], 0).unwrap()] {
            assert!(plain(&blob[..blob.len() - 5]).is_err());
        }
        let bomb = gzip(&vec![0u8; 4 << 20]);
        assert_eq!(plain(&bomb).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
