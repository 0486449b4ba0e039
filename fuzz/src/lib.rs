//! A place to unpack into that notices what happens around it.
//!
//! On a filesystem in memory, one per process: bait on every level above the layer's directory, and the layer's own
//! files held against what a layer may hold.

pub mod archive;

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rootfs::UnpackLimits;

const LIMITS: UnpackLimits = UnpackLimits {
    max_bytes: 1 << 20,
    max_entries: 200,
};
/// Directories above the layer's, each with bait.
const LEVELS: [&str; 3] = ["", "b", "b/c"];
const BAIT: &[u8] = b"untouched";

/// The directory of this process; emptied of the layer after each input.
fn room() -> &'static Path {
    static ROOM: OnceLock<PathBuf> = OnceLock::new();
    ROOM.get_or_init(|| {
        let room = PathBuf::from(format!("/dev/shm/slipway-fuzz-{}", std::process::id()));
        let _ = fs::remove_dir_all(&room);
        for level in LEVELS {
            fs::create_dir(room.join(level)).expect("a directory in memory");
            fs::write(room.join(level).join("outside"), BAIT).expect("bait");
        }
        room
    })
}

/// Absolute path of a bait file, for links to point at.
pub fn bait() -> String {
    room().join("outside").display().to_string()
}

/// Unpacks `blob` as a layer and panics if anything is not as it must be.
pub fn unpack(blob: &[u8]) {
    check(|layer| {
        if let Ok(info) = rootfs::fuzzing::unpack(blob, layer, LIMITS) {
            assert!(info.entries <= LIMITS.max_entries && info.bytes <= LIMITS.max_bytes);
        }
    });
}

/// Unpacks tars as layers of one image, makes what they say by way of each other, and panics likewise.
pub fn stack(tars: &[&[u8]]) {
    check(|store| {
        let _ = rootfs::fuzzing::stack(tars, store, LIMITS);
    });
}

fn check(fill: impl FnOnce(&Path)) {
    let layer = room().join("b/c/layer");
    fs::create_dir(&layer).expect("the layer of the input before is gone");
    fill(&layer);
    let mut seen = Seen::default();
    walk(&layer, &mut seen, 0);
    assert!(seen.entries <= 8 * LIMITS.max_entries, "{} entries", seen.entries);
    let most = 4 * LIMITS.max_bytes + (seen.entries + 1) * 64 * 1024;
    assert!(seen.on_disk <= most, "{} bytes on disk", seen.on_disk);
    fs::remove_dir_all(&layer).expect("a layer can be removed");
    around();
}

/// Nothing above the layer has changed.
fn around() {
    for (at, level) in LEVELS.iter().enumerate() {
        let dir = room().join(level);
        let below = LEVELS
            .get(at + 1)
            .map(|next| next.rsplit('/').next().unwrap_or(next));
        let mut want: Vec<_> = below.into_iter().chain(["outside"]).map(String::from).collect();
        let entries = fs::read_dir(&dir).expect("the room is there");
        let mut names: Vec<_> = entries
            .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        want.sort();
        assert_eq!(names, want, "{}", dir.display());
        let bait = dir.join("outside");
        let meta = fs::symlink_metadata(&bait).expect("the bait is there");
        assert_eq!((meta.nlink(), meta.uid(), meta.len()), (1, 0, BAIT.len() as u64));
        assert_eq!(meta.permissions().mode() & 0o7777, 0o644 & !umask());
        assert_eq!(fs::read(&bait).expect("the bait can be read"), BAIT);
    }
}

fn umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    *UMASK.get_or_init(|| {
        let text = fs::read_to_string("/proc/self/status").expect("a status");
        let line = text.lines().find_map(|line| line.strip_prefix("Umask:"));
        u32::from_str_radix(line.unwrap_or("022").trim(), 8).unwrap_or(0o022)
    })
}

#[derive(Default)]
struct Seen {
    entries: u64,
    on_disk: u64,
}

fn walk(dir: &Path, seen: &mut Seen, depth: u32) {
    check_attributes(dir);
    // Paths the walk cannot name are left to `remove_dir_all`, which goes by descriptors.
    if dir.as_os_str().len() > 3000 || depth > 300 {
        return;
    }
    for entry in fs::read_dir(dir).expect("a directory of the layer") {
        let path = entry.expect("an entry").path();
        let meta = fs::symlink_metadata(&path).expect("a file of the layer");
        seen.entries += 1;
        seen.on_disk += if meta.is_file() {
            meta.blocks() * 512 / meta.nlink()
        } else {
            0
        };
        check_kind(&path, &meta);
        if meta.is_dir() {
            walk(&path, seen, depth + 1);
        } else if meta.is_file() {
            check_attributes(&path);
        }
    }
}

fn check_kind(path: &Path, meta: &Metadata) {
    let kind = meta.file_type();
    assert!(!kind.is_socket() && !kind.is_block_device(), "{}", path.display());
    if kind.is_char_device() {
        assert_eq!(meta.rdev(), 0, "a device in a layer: {}", path.display());
    }
}

/// Nothing but what a layer may carry, and the marks of opaque directories and of whiteouts.
fn check_attributes(path: &Path) {
    let mut list = vec![0u8; 1 << 16];
    let len = rustix::fs::llistxattr(path, &mut list[..]).unwrap_or(0);
    for name in list[..len].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let fine = name.starts_with(b"user.")
            || [
                &b"security.capability"[..],
                b"system.posix_acl_access",
                b"system.posix_acl_default",
                b"trusted.overlay.opaque",
                b"trusted.overlay.origin",
            ]
            .contains(&name);
        assert!(fine, "{} has {}", path.display(), name.escape_ascii());
    }
}
