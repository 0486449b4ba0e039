//! Assembled root filesystems as the kernel shows them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use model::Digest;
use rootfs::{AssembleError, IdRange, Rootfs, RootfsSpec};

use crate::room::{RANGE, Room, names};
use crate::tars::{Meta, Tar, digest};

fn read(path: impl AsRef<std::path::Path>) -> String {
    fs::read_to_string(path).unwrap()
}

/// Both ways of mounting must show the same.
fn rooms() -> [Room; 2] {
    [Room::new(), Room::with(Rootfs::with_path_mounts)]
}

#[test]
fn later_layers_hide_and_replace() {
    for room in rooms() {
        let base = room.unpack(
            Tar::default()
                .dir("./", 0o755)
                .dir("d", 0o755)
                .file("d/gone", "x")
                .file("d/stays", "base")
                .dir("o", 0o755)
                .file("o/old", "x")
                .dir("t", 0o755)
                .file("t/below", "x")
                .file("f", "base")
                .dir("again", 0o755)
                .file("again/old", "x"),
        );
        let change = room.unpack(
            Tar::default()
                .dir("d", 0o755)
                .file("d/.wh.gone", "")
                .file("o/new", "y")
                .file("o/.wh..wh..opq", "")
                .file("o/.wh.old", "")
                .file(".wh.t", "")
                .dir("t", 0o700)
                .file("t/own", "z")
                .dir("f", 0o755)
                .file("f/in", "dir over file")
                // A whiteout concerns lower layers only, whatever the order.
                .dir("again", 0o711)
                .file("again/new", "n")
                .file(".wh.again", ""),
        );
        let top = room.unpack(Tar::default().file("d/gone", "back").file(".wh.o", ""));
        let at = room.assemble(&[base.clone(), change.clone(), top]);
        assert_eq!(names(&at), ["again", "d", "f", "t"]);
        assert_eq!(read(at.join("d/gone")), "back");
        assert_eq!(read(at.join("d/stays")), "base");
        assert_eq!(names(&at.join("t")), ["own"]);
        assert_eq!(names(&at.join("again")), ["new"]);
        assert_eq!(read(at.join("f/in")), "dir over file");
        room.clean();
        let at = room.assemble(&[base, change]);
        assert_eq!(names(&at.join("o")), ["new"]);
        assert_eq!(names(&at.join("d")), ["stays"]);
        room.clean();
        room.assert_clean();
    }
}

#[test]
fn writes_are_the_instances_own_and_go_with_it() {
    for room in rooms() {
        let layer = room.unpack(Tar::default().dir("d", 0o755).file("d/f", "base"));
        let before = crate::room::listing(&room.layer_dir(&layer));
        let at = room.assemble(std::slice::from_ref(&layer));
        let idle = room.rootfs.usage(&room.instance(), &room.target()).unwrap();
        fs::write(at.join("d/f"), "changed").unwrap();
        fs::write(at.join("new"), [1u8; 1 << 20]).unwrap();
        fs::hard_link(at.join("new"), at.join("new2")).unwrap();
        fs::rename(at.join("d"), at.join("e")).unwrap();
        assert_eq!(read(at.join("e/f")), "changed");
        let used = room.rootfs.usage(&room.instance(), &room.target()).unwrap() - idle;
        assert!((1 << 20..1_200_000).contains(&used), "{used}");
        room.clean();
        assert_eq!(
            crate::room::listing(&room.layer_dir(&layer)),
            before,
            "a layer was written to"
        );
        let at = room.assemble(&[layer]);
        assert_eq!(read(at.join("d/f")), "base");
        room.clean();
        room.assert_clean();
    }
}

#[test]
fn none_many_and_repeated_layers() {
    for room in rooms() {
        let at = room.assemble(&[]);
        assert!(names(&at).is_empty());
        fs::write(at.join("x"), "y").unwrap();
        room.clean();

        let layers: Vec<Digest> = (0..128)
            .map(|n| {
                room.unpack(
                    Tar::default()
                        .file(&format!("f{n}"), "x")
                        .file("top", n.to_string()),
                )
            })
            .collect();
        let at = room.assemble(&layers);
        assert_eq!(names(&at).len(), 129);
        assert_eq!(read(at.join("top")), "127");
        room.clean();

        let repeated = [&layers[..3], &layers[..1], &layers[..1]].concat();
        let at = room.assemble(&repeated);
        assert_eq!(read(at.join("top")), "0");
        assert_eq!(names(&at), ["f0", "f1", "f2", "top"]);
        room.clean();
        room.assert_clean();
    }
}

#[test]
fn implied_directories_keep_the_attributes_below() {
    for room in rooms() {
        let user = |mode| Meta {
            mode,
            uid: 1000,
            gid: 1000,
        };
        let base = room.unpack(
            Tar::default()
                .dir("./", 0o711)
                .dir("tmp", 0o1777)
                .dir_as("home/vcap", user(0o750))
                .dir_as("home/vcap/app", user(0o700))
                .dir("hidden", 0o700)
                .dir("own", 0o700),
        );
        let middle = room.unpack(Tar::default().file("tmp/a", "x").file(".wh.hidden", ""));
        let top = room.unpack(
            Tar::default()
                .file("tmp/b", "x")
                .file("home/vcap/app/c", "y")
                .file("hidden/d", "z")
                .dir("own", 0o770)
                .file("own/e", ""),
        );
        let at = room.assemble(&[base, middle, top]);
        let shown = |name: &str| {
            let meta = fs::metadata(at.join(name)).unwrap();
            (meta.mode() & 0o7777, meta.uid().checked_sub(RANGE.first_host_id))
        };
        assert_eq!(shown(""), (0o711, Some(0)));
        assert_eq!(shown("tmp"), (0o1777, Some(0)));
        assert_eq!(shown("home/vcap"), (0o750, Some(1000)));
        assert_eq!(shown("home/vcap/app"), (0o700, Some(1000)));
        assert_eq!(shown("hidden"), (0o755, Some(0)));
        assert_eq!(shown("own"), (0o770, Some(0)));
        assert_eq!(names(&at.join("tmp")), ["a", "b"]);
        room.clean();
        room.assert_clean();
    }
}

#[test]
fn failures_are_told_and_undone() {
    let room = Room::new();
    let layer = room.unpack(Tar::default().file("a", "x"));
    let missing = digest(b"missing");
    let error = room.try_assemble(&[layer.clone(), missing.clone()]).unwrap_err();
    assert!(matches!(error, AssembleError::MissingLayer(digest) if digest == missing));
    room.assert_clean();
    let (instance, target) = (room.instance(), room.target());
    for id_range in [
        IdRange {
            first_host_id: 0,
            size: 1,
        },
        IdRange {
            first_host_id: u32::MAX,
            size: 2,
        },
    ] {
        let spec = RootfsSpec {
            layers: &[],
            instance_dir: &instance,
            writable_bytes: None,
            id_range,
            target: &target,
        };
        assert!(matches!(
            room.rootfs.assemble(&spec),
            Err(AssembleError::IdRange { .. })
        ));
    }
    fs::write(&target, "not a directory").unwrap();
    assert!(room.try_assemble(std::slice::from_ref(&layer)).is_err());
    fs::remove_file(&target).unwrap();
    room.assert_clean();
    room.assemble(std::slice::from_ref(&layer));
    assert!(matches!(
        room.try_assemble(&[layer]),
        Err(AssembleError::Leftover { .. })
    ));
    assert_eq!(read(target.join("a")), "x", "the refusal harms nothing");
    room.clean();
    room.assert_clean();
}

#[test]
fn cleaning_up_needs_no_memory_and_may_be_repeated() {
    let room = Room::with(Rootfs::with_path_mounts);
    room.clean();
    room.assemble(&[]);
    // What a crash in the middle of mounting by paths leaves: the layer store attached below the instance.
    let layer = room.unpack(Tar::default().file("precious", "x"));
    let lower = room.instance().join("rw/lower");
    rustix::mount::mount_bind(room.path().join("store/layers"), &lower).unwrap();
    let again = Rootfs::new(room.store.clone()).unwrap();
    again.unmount(&room.target()).unwrap();
    again.discard(&room.instance()).unwrap();
    room.clean();
    assert!(room.layer_dir(&layer).join("precious").exists());
    room.assert_clean();
}

#[test]
fn removal_stops_at_a_mount() {
    let room = Room::new();
    let layer = room.unpack(Tar::default().file("precious", "x"));
    room.assemble(&[]);
    let strange = room.instance().join("rw/strange");
    fs::create_dir(&strange).unwrap();
    rustix::mount::mount_bind(room.path().join("store/layers"), &strange).unwrap();
    room.rootfs.unmount(&room.target()).unwrap();
    assert!(room.rootfs.discard(&room.instance()).is_err());
    assert!(room.layer_dir(&layer).join("precious").exists());
    rustix::mount::unmount(&strange, rustix::mount::UnmountFlags::DETACH).unwrap();
    room.clean();
    room.assert_clean();
}
