//! The memory unpacking takes, and the disk it leaves.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rootfs::{LayerStore, Reserve, UnpackError, UnpackLimits, lacks_room};
use tempfile::TempDir;
use zstd::zstd_safe::CParameter;

use crate::process::{Pausing, Unpacking, wait_for};
use crate::room::{LIMITS, Room, names, unpacker};
use crate::tars::{Tar, gzip, layer, origin};

const MIB: u64 = 1 << 20;

/// A file whose content repeats only after 32 MiB.
fn large() -> Vec<u8> {
    let mut state = 1u64;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 32).to_le_bytes()
    });
    let block: Vec<u8> = words.take(4096).flatten().collect();
    let mut content = Vec::new();
    for number in 0..2100u32 {
        content.extend_from_slice(&number.wrapping_mul(2_654_435_761).to_le_bytes());
        content.extend_from_slice(&block);
    }
    content
}

fn zstd_with_window(data: &[u8], log: u32) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.set_parameter(CParameter::WindowLog(log)).unwrap();
    encoder
        .set_parameter(CParameter::EnableLongDistanceMatching(true))
        .unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// Unpacks and tells the most memory the process had, KiB, when it had seen all but the last bytes.
fn peak(room: &Room, tar: &[u8], blob: &[u8], mark: u64) -> Result<u64, UnpackError> {
    let limits = UnpackLimits {
        max_bytes: 128 * MIB + mark,
        ..LIMITS
    };
    let (start, rest) = blob.split_at(blob.len() - 4);
    let mut peak = 0;
    let blob = Pausing {
        start,
        meanwhile: Some(|| {
            let process = wait_for("the process", || Unpacking::with_limit(limits.max_bytes));
            wait_for("all but the end of the file", || {
                let made = fs::metadata(process.path("root/large")).ok()?.len();
                (made + MIB > tar.len() as u64).then_some(())
            });
            let hwm = process.status("VmHWM").unwrap();
            peak = hwm.trim_end_matches(" kB").parse().unwrap();
        }),
        rest,
    };
    room.store.unpack(&layer(tar), &origin(), blob, limits)?;
    Ok(peak)
}

#[test]
fn memory_is_bounded_whatever_the_layer() {
    let room = Room::new();
    let tar = Tar::default().file("large", large()).bytes();
    for (mark, blob) in [gzip(&tar), zstd_with_window(&tar, 25), tar.clone()]
        .into_iter()
        .enumerate()
    {
        let peak = peak(&room, &tar, &blob, mark as u64).unwrap();
        assert!((1..64 << 10).contains(&peak), "{mark}: {peak} KiB");
        room.store.make_room(u64::MAX).unwrap();
    }
    let blob = zstd_with_window(&tar, 27);
    let error = room
        .store
        .unpack(&layer(&tar), &origin(), &blob[..], LIMITS)
        .unwrap_err();
    assert!(
        matches!(&error, UnpackError::Read(source) if source.to_string().contains("memory")),
        "{error:?}"
    );
    room.assert_clean();
}

/// A small ext4 of its own, unmounted when dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new(options: &[&str]) -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        let image = disk.0.path().join("image");
        fs::File::create(&image).unwrap().set_len(48 * MIB).unwrap();
        fs::create_dir(disk.mount()).unwrap();
        let run = |program: &str, args: &[&str], last: &[&Path]| {
            let output = Command::new(program).args(args).args(last).output().unwrap();
            assert!(
                output.status.success(),
                "{program}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        };
        run(
            "mkfs.ext4",
            &[&["-q", "-F", "-m", "0"], options].concat(),
            &[&image],
        );
        run("mount", &["-o", "loop"], &[&image, &disk.mount()]);
        disk
    }

    fn mount(&self) -> PathBuf {
        self.0.path().join("disk")
    }

    fn store(&self, reserve: Reserve) -> LayerStore {
        LayerStore::open(&self.mount().join("store"), unpacker().keeping_free(reserve)).unwrap()
    }

    fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.mount()).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Nothing of a layer is left, and a small one fits.
    fn assert_usable(&self, store: &LayerStore) {
        for name in ["tmp", "layers", "meta"] {
            assert!(names(&self.mount().join("store").join(name)).is_empty(), "{name}");
        }
        let tar = Tar::default().file("small", "x").bytes();
        store.unpack(&layer(&tar), &origin(), &tar[..], LIMITS).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.mount(), rustix::mount::UnmountFlags::DETACH);
    }
}

fn too_large() -> Vec<u8> {
    (0..60)
        .fold(Tar::default(), |tar, n| {
            tar.file(&format!("f{n}"), vec![7; MIB as usize])
        })
        .bytes()
}

#[test]
fn a_full_disk_is_named_and_left_as_it_was() {
    let disk = SmallDisk::new(&[]);
    let store = disk.store(Reserve { percent: 0, bytes: 0 });
    let (before, tar) = (disk.free(), too_large());
    let error = store
        .unpack(&layer(&tar), &origin(), &gzip(&tar)[..], LIMITS)
        .unwrap_err();
    let UnpackError::DiskFull { dir, free_bytes, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*dir, disk.mount().join("store"));
    assert!(*free_bytes < 2 * MIB, "{free_bytes}");
    assert!(lacks_room(&error));
    assert!(disk.free() + MIB > before, "{} of {before}", disk.free());
    disk.assert_usable(&store);
}

#[test]
fn a_disk_without_inodes_is_full_too() {
    let disk = SmallDisk::new(&["-N", "64"]);
    let store = disk.store(Reserve { percent: 0, bytes: 0 });
    let tar = (0..300)
        .fold(Tar::default(), |tar, n| tar.file(&format!("f{n}"), ""))
        .bytes();
    let error = store
        .unpack(&layer(&tar), &origin(), &tar[..], LIMITS)
        .unwrap_err();
    assert!(
        matches!(error, UnpackError::DiskFull { free_inodes: 0, free_bytes, .. } if free_bytes > MIB),
        "{error:?}"
    );
    disk.assert_usable(&store);
}

#[test]
fn the_hosts_reserve_is_not_touched() {
    let disk = SmallDisk::new(&[]);
    let reserve = Reserve {
        percent: 50,
        bytes: 16 * MIB,
    };
    let store = disk.store(reserve);
    let tar = too_large();
    let error = store
        .unpack(&layer(&tar), &origin(), &gzip(&tar)[..], LIMITS)
        .unwrap_err();
    let UnpackError::DiskReserve {
        free_bytes,
        reserve_bytes,
        ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(*reserve_bytes, 16 * MIB);
    assert!((8 * MIB..16 * MIB).contains(free_bytes), "{free_bytes}");
    assert!(lacks_room(&error));
    disk.assert_usable(&store);
    // Where it is used up before the start, nothing is read.
    fs::write(
        disk.mount().join("others"),
        vec![1; (disk.free() - 8 * MIB) as usize],
    )
    .unwrap();
    let tar = Tar::default().file("other", "y").bytes();
    let never = Pausing {
        start: b"",
        meanwhile: Some(|| panic!("the blob was read")),
        rest: b"",
    };
    let error = store.unpack(&layer(&tar), &origin(), never, LIMITS).unwrap_err();
    assert!(matches!(error, UnpackError::DiskReserve { .. }), "{error:?}");
}
