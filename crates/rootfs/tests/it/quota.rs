//! What an instance writes is bounded, and its neighbours and the host do not notice.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rootfs::{DiskQuota, IdRange, LayerStore, Quota, Rootfs, RootfsSpec};
use rustix::fs::statvfs;
use tempfile::TempDir;

use crate::room::{RANGE, Room, names, unpacker};
use crate::tars::Tar;

const MIB: u64 = 1 << 20;

/// Both ways of mounting, each with a filesystem per instance.
fn rooms(writable_bytes: u64) -> [Room; 2] {
    [Rootfs::with_path_mounts, |store| Rootfs::new(store).unwrap()].map(|make| {
        let mut room = Room::with(make);
        let quota = Quota::open(DiskQuota::Loop, room.path()).unwrap();
        room.rootfs = room.rootfs.clone().with_quota(quota);
        room.writable_bytes = Some(writable_bytes);
        room
    })
}

/// Writes until the filesystem is full; how much that was, and the error.
fn fill(path: &Path) -> (u64, io::Error) {
    let mut file = File::create(path).unwrap();
    let mut written = 0;
    loop {
        match file.write(&[0xA5; 64 << 10]) {
            Ok(count) => written += count as u64,
            Err(error) => return (written, error),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(code) if code == rustix::io::Errno::NOSPC.raw_os_error()
        || code == rustix::io::Errno::DQUOT.raw_os_error())
}

/// Files behind loop devices that lie below `dir`.
fn loop_files(dir: &Path) -> Vec<String> {
    let devices = fs::read_dir("/sys/block").unwrap().flatten();
    let files = devices.filter_map(|entry| fs::read_to_string(entry.path().join("loop/backing_file")).ok());
    files
        .filter(|file| file.starts_with(dir.to_str().unwrap()))
        .collect()
}

/// The kernel lets go of a device a moment after its last user.
fn assert_no_loop_devices(dir: &Path) {
    let start = Instant::now();
    while !loop_files(dir).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", loop_files(dir));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_instance_finds_its_disk_full_at_its_limit() {
    for room in rooms(20 * MIB) {
        let layer = room.unpack(Tar::default().dir("d", 0o755).file("d/f", vec![7; 3 << 20]));
        let at = room.assemble(std::slice::from_ref(&layer));
        let disk = statvfs(&at).unwrap();
        let (size, free) = (disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize);
        assert!((20 * MIB..22 * MIB).contains(&free), "{free}");
        assert!((20 * MIB..23 * MIB).contains(&size), "{size}");
        assert!(room.rootfs.usage(&room.instance(), &room.target()).unwrap() < 64 << 10);
        let (written, error) = fill(&at.join("big"));
        assert!(is_full(&error), "{error}");
        assert!((20 * MIB - (64 << 10)..=22 * MIB).contains(&written), "{written}");
        let used = room.rootfs.usage(&room.instance(), &room.target()).unwrap();
        assert!((written..written + MIB).contains(&used), "{used} of {written}");
        // Copying up needs room, too; what is here can be read, and deleting helps.
        assert!(is_full(
            &File::options().append(true).open(at.join("d/f")).unwrap_err()
        ));
        assert_eq!(fs::read(at.join("d/f")).unwrap().len(), 3 << 20);
        fs::remove_file(at.join("big")).unwrap();
        assert!(room.rootfs.usage(&room.instance(), &room.target()).unwrap() < 64 << 10);
        fs::write(at.join("small"), vec![1; 10 << 20]).unwrap();
        fs::write(at.join("d/f"), "copied up").unwrap();
        room.clean();
        assert_no_loop_devices(room.path());
        room.assert_clean();
    }
}

#[test]
fn the_number_of_files_is_bounded_too() {
    let [_, room] = rooms(2 * MIB);
    let at = room.assemble(&[]);
    let refused = (0..100_000).find_map(|n| {
        File::create(at.join(format!("f{n}")))
            .err()
            .map(|error| (n, error))
    });
    let (count, error) = refused.expect("it never ends");
    assert!(is_full(&error), "{error}");
    assert!((200..2000).contains(&count), "{count}");
    room.clean();
    assert_no_loop_devices(room.path());
    room.assert_clean();
}

#[test]
fn a_filesystem_of_ones_own_is_like_any_other() {
    for room in rooms(20 * MIB) {
        let layer = room.unpack(
            Tar::default()
                .dir("./", 0o751)
                .dir("d", 0o755)
                .file("d/f", "base"),
        );
        let at = room.assemble(std::slice::from_ref(&layer));
        assert_eq!(names(&at), ["d"]);
        let root = fs::metadata(&at).unwrap();
        assert_eq!((root.mode() & 0o7777, root.uid()), (0o751, RANGE.first_host_id));
        fs::rename(at.join("d"), at.join("e")).unwrap();
        chown(at.join("e/f"), Some(RANGE.first_host_id + 7), None).unwrap();
        fs::hard_link(at.join("e/f"), at.join("g")).unwrap();
        rustix::fs::setxattr(at.join("g"), "user.x", b"y", rustix::fs::XattrFlags::empty()).unwrap();
        fs::set_permissions(at.join("g"), fs::Permissions::from_mode(0o4755)).unwrap();
        fs::remove_file(at.join("e/f")).unwrap();
        assert_eq!(fs::metadata(at.join("g")).unwrap().uid(), RANGE.first_host_id + 7);
        assert_eq!(fs::read(at.join("g")).unwrap(), b"base");
        // Nothing of it shows on the host but the overlay.
        assert_eq!(names(&room.instance()), ["rw"]);
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours: Vec<_> = mounts
            .lines()
            .filter(|line| line.contains(room.path().to_str().unwrap()))
            .collect();
        assert_eq!(ours.len(), 1, "{ours:?}");
        assert_eq!(loop_files(room.path()).len(), 1);
        room.clean();
        assert_no_loop_devices(room.path());
        room.assert_clean();
    }
}

#[test]
fn rooms_made_ahead_are_used_and_go() {
    let [_, room] = rooms(5 * MIB);
    let quota = Quota::open(DiskQuota::Loop, room.path()).unwrap();
    let rootfs = room.rootfs.clone().with_quota(quota.clone());
    let spec = RootfsSpec {
        layers: &[],
        instance_dir: &room.instance(),
        writable_bytes: Some(5 * MIB),
        id_range: RANGE,
        target: &room.target(),
    };
    rootfs.assemble(&spec).unwrap();
    assert_eq!(loop_files(room.path()).len(), 1);
    quota.stock().unwrap();
    quota.stock().unwrap();
    assert_eq!(loop_files(room.path()).len(), 3);
    room.clean();
    rootfs.assemble(&spec).unwrap();
    room.clean();
    quota.drain();
    assert_no_loop_devices(room.path());
    room.assert_clean();
}

#[test]
fn sizes_from_nothing_to_more_than_the_disk_has() {
    for bytes in [0, 300_000, 100 << 30, 2 << 40] {
        let [_, room] = rooms(bytes);
        let at = room.assemble(&[]);
        let disk = statvfs(&at).unwrap();
        let free = disk.f_bavail * disk.f_frsize;
        let least = bytes.max(Quota::SMALLEST);
        assert!(
            free >= least && free <= least + least / 32 + 2 * MIB,
            "{free} for {bytes}"
        );
        fs::write(at.join("f"), "x").unwrap();
        room.clean();
        assert_no_loop_devices(room.path());
        room.assert_clean();
    }
}

/// A host of its own: a small filesystem in a file.
struct SmallHost {
    dir: TempDir,
}

impl SmallHost {
    fn new(mkfs: &[&str], megabytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        File::create(&image).unwrap().set_len(megabytes * MIB).unwrap();
        fs::create_dir(dir.path().join("host")).unwrap();
        let host = Self { dir };
        run(Command::new(mkfs[0]).args(&mkfs[1..]).arg(&image));
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(host.path()));
        fs::set_permissions(host.path(), fs::Permissions::from_mode(0o711)).unwrap();
        host
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("host")
    }
}

impl Drop for SmallHost {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// An instance on a small host.
struct Tenant {
    rootfs: Rootfs,
    dir: PathBuf,
    target: PathBuf,
}

impl Tenant {
    fn new(rootfs: &Rootfs, host: &Path, name: &str, bytes: u64) -> Self {
        let (dir, target) = (host.join(name), host.join(format!("{name}-root")));
        let spec = RootfsSpec {
            layers: &[],
            instance_dir: &dir,
            writable_bytes: Some(bytes),
            id_range: IdRange {
                first_host_id: 300_000,
                size: 65_536,
            },
            target: &target,
        };
        rootfs.assemble(&spec).unwrap();
        Self {
            rootfs: rootfs.clone(),
            dir,
            target,
        }
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        let _ = self.rootfs.unmount(&self.target);
        let _ = self.rootfs.discard(&self.dir);
    }
}

/// More is promised here than there is: admission never does that, an operator who overcommits may.
#[test]
fn on_a_full_host_neighbours_keep_what_they_have() {
    let host = SmallHost::new(&["mkfs.ext4", "-q", "-m", "0"], 96);
    let store = LayerStore::open(&host.path().join("layers"), unpacker()).unwrap();
    let quota = Quota::open(DiskQuota::Loop, &host.path()).unwrap();
    let rootfs = Rootfs::new(store).unwrap().with_quota(quota);
    let quiet = Tenant::new(&rootfs, &host.path(), "quiet", 16 * MIB);
    let greedy = Tenant::new(&rootfs, &host.path(), "greedy", 200 * MIB);
    let block = |n: u64| [u8::try_from(n % 251).unwrap(); 4096];
    let file = File::create_new(quiet.target.join("data")).unwrap();
    for n in 0..1024 {
        file.write_all_at(&block(n), n * 4096).unwrap();
    }
    // An overlay that is volatile flushes nothing on `fsync`; its filesystem does.
    rustix::fs::sync();
    let (written, error) = fill(&greedy.target.join("all"));
    rustix::fs::sync();
    assert!(written > 64 * MIB, "{written} {error}");
    drop(file);
    fs::write("/proc/sys/vm/drop_caches", "1").unwrap();
    let mut read = Vec::new();
    File::open(quiet.target.join("data"))
        .unwrap()
        .read_to_end(&mut read)
        .unwrap();
    assert_eq!(read.len(), 1024 * 4096);
    for (n, bytes) in (0..1024).zip(read.chunks(4096)) {
        assert_eq!(bytes, block(n), "block {n}");
    }
    // And go on when the one that is too large is gone.
    drop(greedy);
    assert_no_loop_devices_but(&host.path(), 1);
    fs::write(quiet.target.join("more"), vec![9; 4 << 20]).unwrap();
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "1").unwrap();
    assert_eq!(fs::read(quiet.target.join("more")).unwrap(), vec![9; 4 << 20]);
    drop(quiet);
    assert_no_loop_devices(&host.path());
}

fn assert_no_loop_devices_but(dir: &Path, count: usize) {
    let start = Instant::now();
    while loop_files(dir).len() > count {
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", loop_files(dir));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Names the variable that makes a process of this test one that is killed.
const VICTIM: &str = "SLIPWAY_TEST_VICTIM";

/// Not a test of its own: what the next one kills. Assembles, writes and removes until then.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os(VICTIM) else {
        return;
    };
    let dir = Path::new(&dir);
    let store = LayerStore::open(&dir.join("layers"), unpacker()).unwrap();
    let quota = Quota::open(DiskQuota::Loop, dir).unwrap();
    let methods = [Rootfs::with_path_mounts, |store| Rootfs::new(store).unwrap()];
    for n in 0.. {
        let rootfs = methods[n % 2](store.clone()).with_quota(quota.clone());
        let tenant = Tenant::new(&rootfs, dir, "i", 5 * MIB);
        fs::write(tenant.target.join("f"), "x").unwrap();
        quota.stock().unwrap();
        println!("{n}");
        io::stdout().flush().unwrap();
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_kill_leaves_nothing_that_is_not_found() {
    let room = Room::new();
    for step in 0..25_u64 {
        let mut child = Killed(
            Command::new("/proc/self/exe")
                .args(["--exact", "quota::victim", "--nocapture"])
                .env(VICTIM, room.path())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        let mut line = [0; 64];
        // The first round is done, so what follows hits the middle of one.
        assert!(child.0.stdout.take().unwrap().read(&mut line).unwrap() > 0);
        std::thread::sleep(Duration::from_micros(step * 700));
        drop(child);
        let (dir, target) = (room.path().join("i"), room.path().join("i-root"));
        room.rootfs.unmount(&target).unwrap();
        room.rootfs.discard(&dir).unwrap();
        assert_no_loop_devices(room.path());
    }
    fs::remove_dir_all(room.path().join("layers")).unwrap();
    room.assert_clean();
}

#[test]
fn a_subvolume_of_btrfs_is_limited() {
    let host = SmallHost::new(&["mkfs.btrfs", "-q"], 200);
    let refused = Quota::open(DiskQuota::Btrfs, &host.path()).unwrap_err();
    let why = std::error::Error::source(&refused).unwrap().to_string();
    assert!(why.contains("btrfs quota enable"), "{why}");
    assert_eq!(
        Quota::open(DiskQuota::Auto, &host.path()).unwrap().driver(),
        "loop"
    );
    run(Command::new("btrfs").args(["quota", "enable"]).arg(host.path()));
    let store = LayerStore::open(&host.path().join("layers"), unpacker()).unwrap();
    let quota = Quota::open(DiskQuota::Auto, &host.path()).unwrap();
    assert_eq!(quota.driver(), "btrfs");
    let rootfs = Rootfs::new(store).unwrap().with_quota(quota);
    let before = names(&host.path());
    let tenant = Tenant::new(&rootfs, &host.path(), "i", 10 * MIB);
    let (written, error) = fill(&tenant.target.join("big"));
    assert!(is_full(&error), "{error}");
    assert!((8 * MIB..=11 * MIB).contains(&written), "{written}");
    rustix::fs::sync();
    let used = rootfs.usage(&tenant.dir, &tenant.target).unwrap();
    assert!((8 * MIB..=11 * MIB).contains(&used), "{used}");
    fs::remove_file(tenant.target.join("big")).unwrap();
    rustix::fs::sync();
    fs::write(tenant.target.join("small"), vec![1; 4 << 20]).unwrap();
    drop(tenant);
    assert_eq!(names(&host.path()), before);
}

#[test]
fn without_a_driver_there_is_no_bound() {
    let room = Room::new();
    let quota = Quota::open(DiskQuota::None, room.path()).unwrap();
    assert_eq!((quota.driver(), quota.passed_over().count()), ("none", 0));
    // No loop device over a directory that is no place for files.
    assert!(Quota::open(DiskQuota::Loop, Path::new("/proc")).is_err());
    let quota = Quota::open(DiskQuota::Auto, Path::new("/proc")).unwrap();
    let passed_over: Vec<_> = quota.passed_over().map(|(name, _)| name).collect();
    assert_eq!((quota.driver(), passed_over), ("none", vec!["btrfs", "loop"]));
}
