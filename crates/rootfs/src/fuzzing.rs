//! What the fuzz targets call: the way of a stranger's bytes, without a store around it. Built for them
//! only.

use std::fs::File;
use std::io::BufReader;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use crate::assemble::IdRange;
use crate::decode::Plain;
use crate::error::UnpackError;
use crate::extract::extract;
use crate::graft::{Shelf, complete_on};
use crate::inherit::Lower;
use crate::marker::{Durability, Marker};
use crate::origin::Origins;
use crate::tar::{Kind, TarStream};
use crate::tree::{set_opaque, set_whited};
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

/// Unpacks tars as layers of a store in an empty directory, bottom first, and makes the grafts they need.
///
/// # Errors
/// As a store's, and those of assembling.
pub fn stack(tars: &[&[u8]], dir: &Path, limits: UnpackLimits) -> Result<(), Box<dyn std::error::Error>> {
    for name in ["layers", "grafts", "tmp"] {
        std::fs::create_dir(dir.join(name))?;
    }
    let mut lowers = Vec::new();
    for (number, bytes) in tars.iter().enumerate() {
        let name = format!("layers/{number}");
        std::fs::create_dir(dir.join(&name))?;
        let root: OwnedFd = File::open(dir.join(&name))?.into();
        let extracted = extract(&mut TarStream::new(*bytes), root.try_clone()?, limits)?;
        set_opaque(&root, &extracted.opaque)?;
        set_whited(&root, &extracted.whited)?;
        let marker = Marker {
            durability: Durability::ThisBoot("boot".to_owned()),
            info: extracted.info,
            origins: Origins::default(),
            root_explicit: extracted.root_explicit,
            implicit: extracted.implicit,
            borrowed: extracted.borrowed,
        };
        lowers.push(Lower {
            dir: dir.join(&name),
            name,
            marker: Arc::new(marker),
        });
    }
    lowers.reverse();
    let lowers = complete_on(&Shelf { dir, boot: "boot" }, lowers)?;
    crate::inherit::root(&lowers)?;
    let merged = File::open(dir.join("tmp"))?;
    let range = IdRange {
        first_host_id: 1000,
        size: 1000,
    };
    Ok(crate::inherit::apply(&lowers, merged.as_fd(), range)?)
}
