//! Layers that want out. Nothing outside changes, and what is refused leaves nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rootfs::{AssembleError, UnpackError};
use tar::EntryType;

use crate::room::{LIMITS, Room, names};
use crate::tars::{Tar, layer, origin};

#[test]
fn dots_are_refused_by_name() {
    let room = Room::new();
    let up = "../".repeat(20);
    for tar in [
        Tar::default().file("../outside", "x"),
        Tar::default().file(&format!("{up}tmp/escaped"), "x"),
        Tar::default().dir("a", 0o755).file("a/../../../outside", "x"),
        Tar::default().dir("..", 0o777),
        Tar::default().symlink("a/..", "x"),
        Tar::default()
            .file("f", "x")
            .hard_link("link", "../../../outside"),
        Tar::default().file("d/.wh...", ""),
    ] {
        let error = room.try_unpack(tar).unwrap_err();
        assert!(matches!(error, UnpackError::UnsafePath { .. }), "{error:?}");
        room.assert_clean();
    }
    assert!(room.store.layers().is_empty());
}

#[test]
fn absolute_paths_stay_below_the_layer() {
    let room = Room::new();
    let outside = room.path().join("outside");
    let absolute = outside.to_str().unwrap();
    let at = room.unpacked(
        Tar::default()
            .file(absolute, "inside")
            .file("//etc/x", "y")
            .hard_link("link", "/etc/x"),
    );
    assert_eq!(
        fs::read_to_string(at.join(absolute.trim_start_matches('/'))).unwrap(),
        "inside"
    );
    assert_eq!(fs::read_to_string(at.join("link")).unwrap(), "y");
    room.assert_clean();
}

#[test]
fn symlinks_are_never_a_way_out() {
    let room = Room::new();
    let dir = room.path().to_str().unwrap();
    let outside = format!("{dir}/outside");
    let up = format!("{}{}", "../".repeat(30), outside.trim_start_matches('/'));
    for target in [outside.as_str(), up.as_str()] {
        // The file itself: replaced, not followed.
        let at = room.unpacked(Tar::default().symlink("f", target).file("f", "inside"));
        assert_eq!(fs::read_to_string(at.join("f")).unwrap(), "inside");
    }
    let up = "../".repeat(30);
    for target in [dir, up.as_str(), "/proc/self/cwd", "/proc/1/root"] {
        // A directory above: such a path is made within the layer.
        for entry in ["d/outside", "d/new/file"] {
            let at = room.unpacked(Tar::default().symlink("d", target).file(entry, "inside"));
            let beneath = at
                .join(target.trim_start_matches(['/', '.']))
                .join(entry.trim_start_matches("d/"));
            assert_eq!(fs::read_to_string(beneath).unwrap(), "inside", "{target} {entry}");
        }
        let attributes = Tar::default()
            .symlink("d", target)
            .dir("d", 0o777)
            .file("d/outside", "inside");
        assert_eq!(
            fs::read_to_string(room.unpacked(attributes).join("d/outside")).unwrap(),
            "inside"
        );
        room.unpack(Tar::default().symlink("d", target).file("d/.wh.outside", ""));
        room.unpack(Tar::default().symlink("d", target).file("d/.wh..wh..opq", ""));
        let link = room.unpack(Tar::default().symlink("d", target).hard_link("l", "d/outside"));
        let missing = room.try_assemble(&[link]);
        assert!(
            matches!(missing, Err(AssembleError::MissingLink { .. })),
            "{missing:?}"
        );
    }
    let deep = Tar::default()
        .symlink("a", "b")
        .symlink("b", "a")
        .file("a/x", "loop");
    assert!(room.try_unpack(deep).is_err());
    room.assert_clean();
    assert!(!room.path().join("new").exists());
}

#[test]
fn hard_links_to_symlinks_do_not_lead_out() {
    let room = Room::new();
    let outside = room.path().join("outside");
    let outside = outside.to_str().unwrap();
    let at = room.unpacked(
        Tar::default()
            .symlink("s", outside)
            .hard_link("h", "s")
            .file("h", "inside")
            .dir("s", 0o777),
    );
    assert_eq!(fs::read_to_string(at.join("h")).unwrap(), "inside");
    // A file of a layer below could be meant; nothing else ever is.
    let missing = room.unpack(Tar::default().hard_link("h", outside));
    let missing = room.try_assemble(&[missing]);
    assert!(
        matches!(missing, Err(AssembleError::MissingLink { .. })),
        "{missing:?}"
    );
    assert!(
        room.try_unpack(Tar::default().dir("d", 0o755).hard_link("h", "d"))
            .is_err()
    );
    room.assert_clean();
    assert_eq!(fs::metadata(outside).unwrap().nlink(), 1);
}

#[test]
fn devices_are_counted_and_not_made() {
    let room = Room::new();
    let bytes = Tar::default()
        .special(EntryType::Char, "dev/mem")
        .special(EntryType::Block, "dev/sda")
        .bytes();
    let info = room
        .store
        .unpack(&layer(&bytes), &origin(), &bytes[..], LIMITS)
        .unwrap();
    assert_eq!(info.devices_skipped, 2);
    assert!(names(&room.layer_dir(&layer(&bytes).diff_id).join("dev")).is_empty());
}

#[test]
fn odd_shapes_are_refused_and_leave_nothing() {
    let room = Room::new();
    let long = "n".repeat(256);
    let empty_link = Tar::default().symlink("l", "");
    for tar in [
        Tar::default().file(&long, "x"),
        Tar::default().file("f", "x").file("f/below", "y"),
        Tar::default().file("/", "root as a file"),
        empty_link,
        Tar::default().pax(&[("path", b"a\0b")]).file("f", "x"),
        Tar::default().pax(&[("uid", b"4294967295")]).file("f", "x"),
    ] {
        room.try_unpack(tar).unwrap_err();
        room.assert_clean();
    }
}

#[test]
fn a_value_cannot_pass_for_a_path() {
    let room = Room::new();
    let at = room.unpacked(
        Tar::default()
            .pax(&[("SCHILY.xattr.user.x", b"\n17 path=../../x\n")])
            .file("honest", "x"),
    );
    assert_eq!(names(&at), ["honest"]);
    room.assert_clean();
}

#[test]
fn floods_of_deep_directories_stay_bounded() {
    let room = Room::new();
    // Each path is 3,900 bytes: 2,300 of them are more than is remembered at once.
    let deep = "d/".repeat(1950);
    let tar = (0..2_300).fold(Tar::default(), |tar, n| tar.dir(&format!("{deep}{n}"), 0o755));
    let bytes = tar.bytes();
    let limits = rootfs::UnpackLimits {
        max_bytes: 1 << 20,
        max_entries: 20_000,
    };
    let info = room
        .store
        .unpack(&layer(&bytes), &origin(), &bytes[..], limits)
        .unwrap();
    assert_eq!(info.entries, 2_300);
    let deepest = format!("{deep}2299");
    let meta = fs::metadata(room.layer_dir(&layer(&bytes).diff_id).join(&deepest[..3900])).unwrap();
    assert!(meta.is_dir());
    room.store.make_room(u64::MAX).unwrap();
    room.assert_clean();
}
