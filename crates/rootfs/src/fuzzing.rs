//! What the fuzz targets call: the way of a stranger's bytes, without a store around it. Built for them
//! only.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::decode::Plain;
use crate::error::UnpackError;
use crate::extract::extract;
use crate::tar::{Kind, TarStream};
use crate::{LayerInfo, UnpackLimits};

/// Bytes beyond the content that headers may take, as a store allows.
const OVERHEAD: u64 = 2 << 20;

/// Reads every entry of a tar and half of its data.
///
/// # Panics
/// When an entry breaks what the reader promises.
pub fn read_tar(bytes: &[u8]) {
    let mut tar = TarStream::new(bytes);
    while let Ok(Some(entry)) = tar.next() {
        assert!(entry.mode <= 0o7777 && entry.uid < u32::MAX && entry.gid < u32::MAX);
        assert!(entry.mtime.1 < 1_000_000_000);
        let names: usize = entry
            .xattrs
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        assert!(entry.path.len() + names <= bytes.len() + 512);
        if let Kind::File { size, extents } = &entry.kind {
            let mut end = 0;
            for extent in extents {
                assert!(extent.offset >= end, "pieces are in order and apart");
                end = extent.offset + extent.len;
            }
            assert!(end <= *size, "pieces lie within the file");
        }
        if entry.path.len() % 2 == 0 {
            let Ok(len) = tar.data().map(<[u8]>::len) else {
                return;
            };
            tar.consume(len);
        }
    }
}

/// Unpacks a blob into an empty directory, as a store does.
///
/// # Errors
/// As a store's.
pub fn unpack(blob: &[u8], dir: &Path, limits: UnpackLimits) -> Result<LayerInfo, UnpackError> {
    let root = File::open(dir).map_err(UnpackError::Read)?.into();
    let plain = Plain::new(blob, limits.max_bytes + OVERHEAD).map_err(UnpackError::Read)?;
    let mut tar = TarStream::new(BufReader::new(plain));
    let extracted = extract(&mut tar, root, limits)?;
    std::io::copy(&mut tar.into_inner(), &mut std::io::sink()).map_err(UnpackError::Read)?;
    Ok(extracted.info)
}
