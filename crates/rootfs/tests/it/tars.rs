//! Layer tars, entry by entry, honest or not.

use std::io::Write;

use model::{Compression, Digest, Layer};
use rootfs::Origin;
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

/// The repository the layers of most tests come from.
pub fn origin() -> Origin {
    Origin::new("registry.test/team/app").unwrap()
}

/// A tar being written.
#[derive(Default)]
pub struct Tar(Vec<u8>);

/// Owner, group and mode of an entry.
#[derive(Clone, Copy)]
pub struct Meta {
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
}

pub const ROOT: Meta = Meta {
    mode: 0o644,
    uid: 0,
    gid: 0,
};
pub const MTIME: u64 = 1_234_567_890;

impl Tar {
    pub fn file(self, path: &str, data: impl AsRef<[u8]>) -> Self {
        self.file_as(path, data, ROOT)
    }

    pub fn file_as(self, path: &str, data: impl AsRef<[u8]>, meta: Meta) -> Self {
        self.entry(EntryType::Regular, (path, ""), meta, data.as_ref())
    }

    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.dir_as(path, Meta { mode, ..ROOT })
    }

    pub fn dir_as(self, path: &str, meta: Meta) -> Self {
        self.entry(EntryType::Directory, (path, ""), meta, b"")
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(
            EntryType::Symlink,
            (path, target),
            Meta { mode: 0o777, ..ROOT },
            b"",
        )
    }

    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, (path, target), ROOT, b"")
    }

    pub fn special(self, kind: EntryType, path: &str) -> Self {
        let meta = Meta {
            mode: 0o620,
            uid: 3,
            gid: 4,
        };
        self.entry(kind, (path, ""), meta, b"")
    }

    /// Extended header records for the next entry.
    pub fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        let mut builder = tar::Builder::new(&mut self.0);
        builder.append_pax_extensions(records.iter().copied()).unwrap();
        std::mem::forget(builder);
        self
    }

    fn entry(mut self, kind: EntryType, (path, link): (&str, &str), meta: Meta, data: &[u8]) -> Self {
        for (marker, text) in [(EntryType::GNULongName, path), (EntryType::GNULongLink, link)] {
            if text.len() > 100 {
                self.push(
                    marker,
                    ("././@LongLink", ""),
                    ROOT,
                    format!("{text}\0").as_bytes(),
                );
            }
        }
        self.push(kind, (path, link), meta, data);
        self
    }

    fn push(&mut self, kind: EntryType, (path, link): (&str, &str), meta: Meta, data: &[u8]) {
        let mut header = Header::new_gnu();
        let (name, target) = (
            &path.as_bytes()[..path.len().min(100)],
            &link.as_bytes()[..link.len().min(100)],
        );
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target);
        header.set_entry_type(kind);
        header.set_mode(meta.mode);
        header.set_uid(meta.uid);
        header.set_gid(meta.gid);
        header.set_mtime(MTIME);
        header.set_size(data.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    /// The finished archive.
    pub fn bytes(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

pub fn digest(bytes: &[u8]) -> Digest {
    Digest::from_sha256(&Sha256::digest(bytes).into())
}

/// The layer whose content is `tar`; the blob is whatever the test sends.
pub fn layer(tar: &[u8]) -> Layer {
    Layer {
        digest: digest(tar),
        diff_id: digest(tar),
        size: tar.len() as u64,
        compression: Compression::Gzip,
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
