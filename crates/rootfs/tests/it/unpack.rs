//! Honest layers: what is on disk is what the tar says.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use rootfs::{UnpackError, UnpackLimits};
use tar::EntryType;

use crate::room::{LIMITS, Room, names, xattrs};
use crate::tars::{MTIME, Meta, Tar, gzip, layer, origin};

fn sample() -> Tar {
    let user = Meta {
        mode: 0o640,
        uid: 1000,
        gid: 1001,
    };
    Tar::default()
        .dir("./", 0o755)
        .dir("etc/", 0o755)
        .file("etc/motd", "hello")
        .file_as("home/app", [7u8; 200_000], user)
        .symlink("link", "/etc/motd")
        .hard_link("etc/motd.2", "etc/motd")
}

#[test]
fn every_packing_unpacks_to_the_same_tree() {
    let tar = sample().bytes();
    let mut members = gzip(&tar[..1000]);
    members.extend(gzip(&tar[1000..]));
    let mut seen = Vec::new();
    for blob in [
        tar.clone(),
        gzip(&tar),
        members,
        zstd::encode_all(&tar[..], 3).unwrap(),
    ] {
        let room = Room::new();
        let info = room
            .store
            .unpack(&layer(&tar), &origin(), &blob[..], LIMITS)
            .unwrap();
        assert_eq!((info.bytes, info.entries), (200_005, 6));
        let mut tree = crate::room::listing(&room.layer_dir(&layer(&tar).diff_id));
        // The parent that has no entry was made now.
        assert!(tree.remove("home").unwrap().starts_with("40755 0:0 "));
        seen.push(tree);
        room.assert_clean();
    }
    assert_eq!(seen[0].len(), 6);
    assert!(seen.iter().all(|tree| *tree == seen[0]));
}

#[test]
fn modes_owners_and_times_are_kept_unshifted() {
    let room = Room::new();
    let suid = Meta {
        mode: 0o6755,
        uid: 5,
        gid: 6,
    };
    let at = room.unpacked(
        Tar::default()
            .dir_as(
                "tmp",
                Meta {
                    mode: 0o1777,
                    uid: 0,
                    gid: 0,
                },
            )
            .dir_as(
                "shared",
                Meta {
                    mode: 0o2775,
                    uid: 8,
                    gid: 9,
                },
            )
            .file_as("shared/su", "x", suid)
            .file_as(
                "tmp/closed",
                "x",
                Meta {
                    mode: 0,
                    uid: 70_000,
                    gid: 0,
                },
            )
            .special(EntryType::Fifo, "pipe"),
    );
    for (name, mode, uid, gid) in [
        ("tmp", 0o41777, 0, 0),
        ("shared", 0o42775, 8, 9),
        ("shared/su", 0o106755, 5, 6),
        ("tmp/closed", 0o100000, 70_000, 0),
        ("pipe", 0o10620, 3, 4),
    ] {
        let meta = fs::symlink_metadata(at.join(name)).unwrap();
        assert_eq!(
            (meta.mode(), meta.uid(), meta.gid(), meta.mtime()),
            (mode, uid, gid, MTIME as i64),
            "{name}"
        );
    }
    assert!(
        fs::symlink_metadata(at.join("pipe"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
}

#[test]
fn attributes_are_kept_when_they_are_harmless() {
    let room = Room::new();
    // cap_net_bind_service=ep, revision 2, with a newline byte in it.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0];
    let tar = Tar::default()
        .pax(&[
            ("SCHILY.xattr.security.capability", &capability),
            ("SCHILY.xattr.user.note", b"a\nb"),
        ])
        .file("server", "x")
        .pax(&[
            ("SCHILY.xattr.user.dir", b"1"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ])
        .dir("d", 0o755)
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.security.selinux", b"x"),
        ])
        .dir("e", 0o755)
        .pax(&[("mtime", b"1500000000.25")])
        .file("dated", "x");
    let bytes = tar.bytes();
    let info = room
        .store
        .unpack(&layer(&bytes), &origin(), &bytes[..], LIMITS)
        .unwrap();
    assert_eq!(info.xattrs_skipped, 3);
    let at = room.layer_dir(&layer(&bytes).diff_id);
    let server = xattrs(&at.join("server"));
    assert_eq!(server["security.capability"], capability);
    assert_eq!(server["user.note"], b"a\nb");
    assert_eq!(
        xattrs(&at.join("d")).into_keys().collect::<Vec<_>>(),
        ["user.dir"]
    );
    assert!(xattrs(&at.join("e")).is_empty());
    let dated = fs::metadata(at.join("dated")).unwrap();
    assert_eq!((dated.mtime(), dated.mtime_nsec()), (1_500_000_000, 250_000_000));
}

#[test]
fn sparse_files_stay_sparse() {
    let room = Room::new();
    let records: [(&str, &[u8]); 2] = [
        ("GNU.sparse.size", b"40000000"),
        ("GNU.sparse.map", b"20000000,3,40000000,0"),
    ];
    let at = room.unpacked(Tar::default().pax(&records).file("s", "abc"));
    let meta = fs::metadata(at.join("s")).unwrap();
    assert_eq!(meta.len(), 40_000_000);
    assert!(meta.blocks() < 100, "{} blocks", meta.blocks());
    assert_eq!(
        &fs::read(at.join("s")).unwrap()[19_999_999..20_000_004],
        b"\0abc\0"
    );
}

#[test]
fn names_may_be_long_and_odd() {
    let room = Room::new();
    let deep = ["directory-with-a-long-name"; 20].join("/");
    let file = format!("{deep}/{}", "n".repeat(255));
    let at = room.unpacked(
        Tar::default()
            .file(&file, "x")
            .file("a.wh.b", "kept")
            .file("sp ace\n\u{e9}", "y")
            .symlink("l", &format!("/{deep}")),
    );
    assert_eq!(fs::read_to_string(at.join(file)).unwrap(), "x");
    assert_eq!(fs::read_to_string(at.join("a.wh.b")).unwrap(), "kept");
    assert_eq!(fs::read_to_string(at.join("sp ace\n\u{e9}")).unwrap(), "y");
    assert_eq!(
        fs::read_link(at.join("l")).unwrap().to_str().unwrap(),
        format!("/{deep}")
    );
}

#[test]
fn the_last_entry_of_a_name_wins_and_other_names_keep_the_first() {
    let room = Room::new();
    let at = room.unpacked(
        Tar::default()
            .file("a", "first")
            .hard_link("b", "a")
            .file("a", "second")
            .file("target", "kept")
            .symlink("link", "target")
            .file("link", "own")
            .file("was-file", "x")
            .dir("was-file", 0o700)
            .file("was-file/in", "y")
            .dir("was-dir", 0o755)
            .file("was-dir/in", "x")
            .file("was-dir", "z")
            .dir("kept-dir", 0o755)
            .file("kept-dir/in", "k")
            .dir("kept-dir", 0o711)
            .hard_link("b", "b"),
    );
    for (name, want) in [
        ("a", "second"),
        ("b", "first"),
        ("target", "kept"),
        ("link", "own"),
        ("was-file/in", "y"),
        ("was-dir", "z"),
        ("kept-dir/in", "k"),
    ] {
        assert_eq!(fs::read_to_string(at.join(name)).unwrap(), want, "{name}");
    }
    assert_eq!(fs::metadata(at.join("kept-dir")).unwrap().mode(), 0o40711);
}

#[test]
fn a_layers_own_symlinks_lead_within_the_layer() {
    let room = Room::new();
    let at = room.unpacked(
        Tar::default()
            .dir("usr/lib", 0o755)
            .symlink("lib", "usr/lib")
            .file("lib/so", "relative")
            .symlink("abs", "/usr/lib")
            .file("abs/more/so2", "absolute")
            .hard_link("usr/lib/so", "lib/so"),
    );
    assert_eq!(fs::read_to_string(at.join("usr/lib/so")).unwrap(), "relative");
    assert_eq!(
        fs::read_to_string(at.join("usr/lib/more/so2")).unwrap(),
        "absolute"
    );
    assert_eq!(names(&at), ["abs", "lib", "usr"]);
}

#[test]
fn limits_hold_before_the_disk_is_full() {
    let room = Room::new();
    let bytes = Tar::default()
        .file("a", [1u8; 5000])
        .file("b", [2u8; 5000])
        .bytes();
    let unpack = |max_bytes, max_entries| {
        room.store
            .unpack(
                &layer(&bytes),
                &origin(),
                &bytes[..],
                UnpackLimits {
                    max_bytes,
                    max_entries,
                },
            )
            .map(|_| ())
    };
    assert!(matches!(
        unpack(9_999, 10),
        Err(UnpackError::TooLarge { limit: 9_999 })
    ));
    assert!(matches!(
        unpack(10_000, 1),
        Err(UnpackError::TooManyEntries { limit: 1 })
    ));
    let deep = Tar::default().file(&"d/".repeat(40), "").bytes();
    let few = UnpackLimits {
        max_bytes: 100,
        max_entries: 20,
    };
    assert!(matches!(
        room.store.unpack(&layer(&deep), &origin(), &deep[..], few),
        Err(UnpackError::TooManyEntries { .. })
    ));
    assert!(room.store.layers().is_empty());
    room.assert_clean();
    unpack(10_000, 2).unwrap();
}
