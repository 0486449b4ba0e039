//! The daemon is killed at any point of an unpacking, and the next one finds nothing half made.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rootfs::LayerStore;

use crate::process::{Unpacking, wait_for};
use crate::room::{LIMITS, names, unpacker};
use crate::tars::{Tar, gzip, layer, origin};

/// Names the variable that makes a process of this test a daemon, and says where.
const DAEMON: &str = "SLIPWAY_TEST_UNPACK";
const ROUNDS: u32 = 100;
/// Rounds end after this on a machine that is busy, but not before [`FEWEST`].
const TIME: Duration = Duration::from_secs(60);
const FEWEST: u32 = 20;

/// Not a test: what the test starts as a process of its own. Without the variable it does nothing.
#[test]
fn daemon() {
    let Some(dir) = std::env::var_os(DAEMON) else {
        return;
    };
    std::thread::spawn(|| {
        // Ends with who started it, however that ended.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
    let dir = Path::new(&dir);
    let tar = fs::read(dir.join("tar")).unwrap();
    let store = LayerStore::open(&dir.join("store"), unpacker()).unwrap();
    let blob = File::open(dir.join("blob")).unwrap();
    store.unpack(&layer(&tar), &origin(), blob, LIMITS).unwrap();
}

fn start(dir: &Path) -> Child {
    Command::new("/proc/self/exe")
        .args(["--exact", "crash::daemon", "--nocapture"])
        .env(DAEMON, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn killed_at_a_hundred_points_nothing_is_half_made() {
    let dir = tempfile::tempdir().unwrap();
    let tar = (0..100)
        .fold(Tar::default(), |tar, n| {
            tar.dir(&format!("d{n}"), 0o755)
                .file(&format!("d{n}/f"), vec![n as u8; 9_000])
        })
        .bytes();
    fs::write(dir.path().join("tar"), &tar).unwrap();
    let packed = gzip(&tar);
    fs::write(dir.path().join("blob"), &packed).unwrap();
    let wanted = layer(&tar);
    let store = dir.path().join("store");
    let begin = Instant::now();
    let mut daemon = start(dir.path());
    let _hold = daemon.stdin.take();
    assert!(daemon.wait().unwrap().success());
    let whole = begin.elapsed();
    let (mut state, mut complete, mut killed) = (1u64, 0, 0);
    let mut round = 0;
    while round < ROUNDS && (round < FEWEST || begin.elapsed() < TIME) {
        round += 1;
        fs::remove_dir_all(&store).unwrap();
        let mut daemon = start(dir.path());
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Any moment up to a little after the end.
        std::thread::sleep(whole.mul_f64((state >> 40) as f64 / f64::from(1 << 24) * 1.1));
        daemon.kill().unwrap();
        killed += u32::from(daemon.wait().unwrap().signal() == Some(9));
        let open = LayerStore::open(&store, unpacker()).unwrap();
        assert!(names(&store.join("tmp")).is_empty(), "round {round}");
        let (layers, metas) = (names(&store.join("layers")), names(&store.join("meta")));
        assert_eq!(layers, metas, "round {round}");
        if open.has(&wanted.diff_id, &origin()) {
            complete += 1;
            let last = store.join("layers").join(wanted.diff_id.hex()).join("d99/f");
            assert_eq!(fs::read(last).unwrap(), vec![99; 9_000], "round {round}");
        } else {
            assert!(layers.is_empty(), "round {round}");
        }
        if round % 10 == 0 {
            open.unpack(&wanted, &origin(), &packed[..], LIMITS).unwrap();
        }
    }
    assert!(
        killed >= round / 2 && complete < round,
        "{killed} killed, {complete} complete"
    );
}

#[test]
fn the_process_that_unpacks_dies_with_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let tar = Tar::default().file("f", vec![1; 400_000]).bytes();
    fs::write(dir.path().join("tar"), &tar).unwrap();
    // A blob that never ends: the daemon waits for more of it.
    let blob = dir.path().join("blob");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &blob, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let mut daemon = start(dir.path());
    let mut writer = File::options().write(true).open(&blob).unwrap();
    std::io::Write::write_all(&mut writer, &tar[..300_000]).unwrap();
    let process = wait_for("the process that unpacks", || {
        let children = format!("/proc/{}/task", daemon.id());
        let tasks = fs::read_dir(children).unwrap();
        tasks
            .filter_map(|task| fs::read_to_string(task.unwrap().path().join("children")).ok())
            .find_map(|children| children.split_ascii_whitespace().next()?.parse().ok())
            .map(Unpacking)
            .filter(|process| process.is_confined())
    });
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    wait_for("its death", || {
        let state = process.status("State");
        state.is_none_or(|state| state.starts_with('Z')).then_some(())
    });
    drop(writer);
    let store = LayerStore::open(&dir.path().join("store"), unpacker()).unwrap();
    assert!(names(&dir.path().join("store/tmp")).is_empty());
    store.unpack(&layer(&tar), &origin(), &tar[..], LIMITS).unwrap();
}
