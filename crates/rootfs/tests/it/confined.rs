//! What unpacks a layer holds nothing but the layer, and dies without a trace.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rootfs::{LayerStore, UnpackError, UnpackLimits, Unpacker};
use rustix::process::{Pid, Signal, kill_process};

use crate::process::{Pausing, Unpacking, wait_for};
use crate::room::{LIMITS, Room, names};
use crate::tars::{Tar, gzip, layer, origin};

/// CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETFCAP of capabilities(7).
const CAPABILITIES: &str = "000000008000001b";
const NONE: &str = "0000000000000000";

/// These limits with a number that tells the process from those of other tests.
fn limits(mark: u64) -> UnpackLimits {
    UnpackLimits {
        max_bytes: (64 << 20) + mark,
        ..LIMITS
    }
}

/// Unpacks a layer and looks at the process once it has begun to make files.
fn meanwhile(room: &Room, mark: u64, look: impl FnOnce(Unpacking)) -> Result<(), UnpackError> {
    let limits = limits(mark);
    let tar = Tar::default()
        .file("first", vec![1; 400_000])
        .file("second", vec![2; 400_000])
        .bytes();
    let (start, rest) = tar.split_at(600_000);
    let blob = Pausing {
        start,
        meanwhile: Some(|| {
            look(wait_for("the process is confined", || {
                Unpacking::with_limit(limits.max_bytes).filter(|process| process.is_confined())
            }));
        }),
        rest,
    };
    room.store.unpack(&layer(&tar), &origin(), blob, limits).map(drop)
}

#[test]
fn it_has_a_few_capabilities_and_a_filter_in_every_thread() {
    let room = Room::new();
    let look = |process: Unpacking| {
        let tasks = names(&process.path("task"));
        assert_eq!(tasks.len(), 3, "{tasks:?}");
        for task in tasks {
            let thread = Unpacking(task.parse().unwrap());
            for (key, value) in [
                ("CapPrm", CAPABILITIES),
                ("CapEff", CAPABILITIES),
                ("CapBnd", NONE),
                ("CapInh", NONE),
                ("CapAmb", NONE),
                ("NoNewPrivs", "1"),
                ("Seccomp", "2"),
            ] {
                assert_eq!(thread.status(key).unwrap(), value, "{key}");
            }
        }
        let limits = fs::read_to_string(process.path("limits")).unwrap();
        let data = limits
            .lines()
            .find(|line| line.starts_with("Max data size"))
            .unwrap();
        let data: u64 = data.split_ascii_whitespace().nth(3).unwrap().parse().unwrap();
        assert!(data < 64 << 20, "{data}");
    };
    meanwhile(&room, 1, look).unwrap();
    room.assert_clean();
}

#[test]
fn it_sees_the_draft_and_nothing_else() {
    let room = Room::new();
    let look = |process: Unpacking| {
        for namespace in ["user", "mnt", "net", "ipc", "uts"] {
            let its = fs::read_link(process.path(&format!("ns/{namespace}"))).unwrap();
            assert_ne!(its, fs::read_link(format!("/proc/self/ns/{namespace}")).unwrap());
        }
        let mounts = fs::read_to_string(process.path("mountinfo")).unwrap();
        assert_eq!(mounts.lines().count(), 1, "{mounts}");
        for word in ["nosuid", "nodev", "noexec"] {
            assert!(mounts.contains(word), "{mounts}");
        }
        wait_for("the first file is there", || {
            names(&process.path("root"))
                .contains(&"first".to_owned())
                .then_some(())
        });
        let ids = fs::read_to_string(process.path("uid_map")).unwrap();
        let ids: Vec<&str> = ids.split_ascii_whitespace().collect();
        assert_eq!(ids[0], ids[1], "every id is itself");
        // Two pipes and the null device; below the draft whatever is being made.
        let draft = process.path("root");
        let device = fs::metadata(&draft).unwrap().dev();
        for fd in fs::read_dir(process.path("fd")).unwrap() {
            let fd = fd.unwrap();
            let meta = fs::metadata(fd.path()).unwrap();
            let number: u32 = fd.file_name().to_str().unwrap().parse().unwrap();
            assert!(
                number <= 2 || meta.dev() == device,
                "{:?}",
                fs::read_link(fd.path())
            );
        }
    };
    meanwhile(&room, 2, look).unwrap();
    room.assert_clean();
}

#[test]
fn its_death_is_an_error_and_leaves_nothing() {
    let room = Room::new();
    let mut dead = None;
    let kill = |process: Unpacking| {
        dead = Some(process);
        kill_process(Pid::from_raw(process.0).unwrap(), Signal::KILL).unwrap();
    };
    let error = meanwhile(&room, 3, kill).unwrap_err();
    assert!(
        matches!(&error, UnpackError::Worker { how } if how.contains("signal 9")),
        "{error}"
    );
    assert!(!dead.unwrap().path("status").exists(), "it was not reaped");
    room.assert_clean();
    // The same layer, another time.
    meanwhile(&room, 3, |_| ()).unwrap();
}

#[test]
fn a_program_that_is_not_one_is_told() {
    let room = Room::new();
    let tar = Tar::default().file("a", "x").bytes();
    let unpack = |name: &str, command: &[&str]| {
        let unpacker = Unpacker::new(command.iter().map(Into::into).collect());
        let store = LayerStore::open(&room.path().join("store").join(name), unpacker).unwrap();
        let error = store
            .unpack(&layer(&tar), &origin(), &tar[..], LIMITS)
            .unwrap_err();
        assert!(names(&room.path().join("store").join(name).join("tmp")).is_empty());
        error
    };
    for (name, command) in [("a", &["/nowhere/at/all"][..]), ("b", &[])] {
        let error = unpack(name, command);
        assert!(matches!(error, UnpackError::Confine { .. }), "{error:?}");
    }
    for (name, command) in [("c", &["/bin/true"][..]), ("d", &["/bin/echo", "nonsense"])] {
        let error = unpack(name, command);
        assert!(
            matches!(&error, UnpackError::Worker { how } if how.contains("status 0")),
            "{error:?}"
        );
    }
}

#[test]
fn opaque_directories_are_marked_by_the_daemon() {
    let room = Room::new();
    let at = room.unpacked(
        Tar::default()
            .dir("gone", 0o755)
            .file("gone/.wh..wh..opq", "")
            .file("gone", "a file now")
            .dir("kept", 0o755)
            .file("kept/.wh..wh..opq", "")
            .file("kept/.wh..wh..opq", "")
            .file("kept/x", "x")
            .dir("back", 0o755)
            .file("back/.wh..wh..opq", "")
            .symlink("back", "kept")
            .dir("back", 0o755)
            .file(".wh.hidden", "")
            .dir("hidden", 0o700),
    );
    let is_opaque = |name: &str| crate::room::xattrs(&at.join(name)).contains_key("trusted.overlay.opaque");
    assert!(is_opaque("kept") && is_opaque("hidden"));
    assert!(!is_opaque("back") && !is_opaque(""));
    assert_eq!(names(&at.join("kept")), ["x"]);
    assert_eq!(
        fs::metadata(at.join("kept")).unwrap().mtime(),
        crate::tars::MTIME as i64
    );
    let aliased = Tar::default()
        .dir("d", 0o755)
        .symlink("l", "d")
        .file("l/.wh..wh..opq", "");
    let at = room.unpacked(aliased);
    assert!(crate::room::xattrs(&at.join("d")).contains_key("trusted.overlay.opaque"));
    // The mark is no file to link to.
    let linked = Tar::default()
        .dir("d", 0o755)
        .file("d/.wh..wh..opq", "")
        .hard_link("l", "d/.wh..wh..opq");
    room.try_unpack(linked).unwrap_err();
    room.assert_clean();
}

#[test]
fn a_broken_blob_is_told_as_before() {
    let room = Room::new();
    let tar = Tar::default().file("a", vec![5; 300_000]).bytes();
    let packed = gzip(&tar);
    for blob in [&packed[..packed.len() - 9], &packed[..20]] {
        let error = room
            .store
            .unpack(&layer(&tar), &origin(), blob, LIMITS)
            .unwrap_err();
        assert!(matches!(error, UnpackError::Read(_)), "{error:?}");
    }
    room.assert_clean();
}
