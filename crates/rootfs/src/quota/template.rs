//! An empty ext4 filesystem, kept in memory as the few blocks that are not zero, to be copied for each instance.
//!
//! No journal: an instance's disk does not outlive the machine's power. Inode tables are not zeroed, so neither making
//! nor mounting writes more than the template's 100 KiB. No block is reserved for root: the container's root is not
//! the host's.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{CWD, IFlags, Mode, OFlags, SeekFrom, fstatfs, ioctl_setflags, openat, seek};
use rustix::io::Errno;

/// Bytes per block.
const BLOCK: u64 = 4096;
/// One inode for so many bytes: what bounds an instance's number of files.
const BYTES_PER_INODE: u64 = 8192;
const INODE: u64 = 256;
/// What the kernel keeps back for its own late allocations: a fiftieth, at most this many blocks (ext4,
/// `s_resv_clusters`).
const MOST_KEPT_BACK: u64 = 4096;
/// Superblock, descriptors, bitmaps, the root directory and what is lost and found, blocks.
const FIXED: u64 = 32;
/// Block group, blocks; each has a few blocks of bitmaps and descriptors.
const GROUP: u64 = 32_768;
/// Smallest filesystem, blocks; below, mkfs has nothing left.
const SMALLEST: u64 = 128;
/// Bound on what is kept in memory, bytes; filesystems of terabytes have a few MiB.
const LARGEST: u64 = 64 << 20;
/// `f_type` of btrfs (include/uapi/linux/magic.h).
const BTRFS: i64 = 0x9123_683E;

/// An empty filesystem.
#[derive(Debug)]
pub(super) struct Template {
    bytes: u64,
    pieces: Vec<(u64, Vec<u8>)>,
}

impl Template {
    /// Makes one that has at least `room` bytes for files, on the filesystem of `dir`.
    pub(super) fn make(dir: &Path, room: u64) -> io::Result<Self> {
        let file = nameless(dir)?;
        let blocks = blocks_for(room);
        file.set_len(blocks * BLOCK)?;
        mkfs(&file)?;
        Ok(Self {
            bytes: blocks * BLOCK,
            pieces: pieces(&file)?,
        })
    }

    /// A new file with this filesystem; it has no name, and goes with its last user.
    pub(super) fn copy(&self, dir: &Path) -> io::Result<File> {
        let file = nameless(dir)?;
        file.set_len(self.bytes)?;
        for (at, bytes) in &self.pieces {
            file.write_all_at(bytes, *at)?;
        }
        Ok(file)
    }
}

/// Blocks of a filesystem in which `room` bytes can be written.
fn blocks_for(room: u64) -> u64 {
    let data = room.div_ceil(BLOCK);
    let kept_back = (data / 48 + 1).min(MOST_KEPT_BACK);
    let groups = (data / GROUP + 1) * 4;
    let inodes = BYTES_PER_INODE / INODE;
    ((data + kept_back + groups + FIXED) * inodes)
        .div_ceil(inodes - 1)
        .max(SMALLEST)
}

fn nameless(dir: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(CWD, dir, flags, Mode::RUSR | Mode::WUSR)?;
    if fstatfs(&file)?.f_type == BTRFS {
        // A disk in a file is rewritten in place all the time. Without it only slower.
        let _ = ioctl_setflags(&file, IFlags::NOCOW);
    }
    Ok(file.into())
}

/// The operator's mke2fs.conf is left out: what a room is must not depend on it.
fn mkfs(file: &File) -> io::Result<()> {
    let features = "none,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super2,large_file,huge_file,dir_nlink,\
                    extra_isize,uninit_bg,64bit";
    let output = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-m", "0", "-O", features])
        .args(["-b", &BLOCK.to_string(), "-I", &INODE.to_string()])
        .args(["-i", &BYTES_PER_INODE.to_string()])
        .args([
            "-E",
            "nodiscard,lazy_itable_init=1,root_owner=0:0,packed_meta_blocks=1,num_backup_sb=0",
        ])
        .arg("/proc/self/fd/0")
        .env_clear()
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .env("MKE2FS_CONFIG", "/dev/null")
        .stdin(Stdio::from(file.try_clone()?))
        .stdout(Stdio::null())
        .output();
    let output = output.map_err(|error| io::Error::new(error.kind(), format!("mkfs.ext4: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.trim().lines().last().unwrap_or_default().to_owned();
    Err(io::Error::other(format!("mkfs.ext4: {}: {last}", output.status)))
}

/// The blocks of `file` that are not zero, neighbours together.
fn pieces(file: &File) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let mut pieces: Vec<(u64, Vec<u8>)> = Vec::new();
    let (mut at, mut total) = (0, 0);
    loop {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start / BLOCK * BLOCK,
            Err(Errno::NXIO) => return Ok(pieces),
            Err(errno) => return Err(errno.into()),
        };
        at = seek(file, SeekFrom::Hole(start))?;
        for block in (start..at).step_by(4096) {
            let mut bytes = vec![0; 4096];
            let len = file.read_at(&mut bytes, block)?;
            bytes.truncate(len);
            if bytes.iter().all(|byte| *byte == 0) {
                continue;
            }
            total += BLOCK;
            if total > LARGEST {
                return Err(io::Error::other(
                    "an empty filesystem of this size has too much in it",
                ));
            }
            match pieces.last_mut() {
                Some((first, before)) if *first + before.len() as u64 == block => before.append(&mut bytes),
                _ => pieces.push((block, bytes)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_same_filesystem() {
        let dir = tempfile::tempdir().unwrap();
        for room in [256 << 10, 1 << 20, 100 << 20, 3 << 30] {
            let template = Template::make(dir.path(), room).unwrap();
            let kept: usize = template.pieces.iter().map(|(_, bytes)| bytes.len()).sum();
            assert!(kept < 200 << 10, "{kept} bytes for {room}");
            let copy = template.copy(dir.path()).unwrap();
            let check = Command::new("e2fsck")
                .args(["-fn", "/proc/self/fd/0"])
                .stdin(Stdio::from(copy))
                .output()
                .unwrap();
            assert!(
                check.status.success(),
                "{}",
                String::from_utf8_lossy(&check.stdout)
            );
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
