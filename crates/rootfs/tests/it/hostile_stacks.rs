//! Layers that are harmless alone and want out together: links of one, entries of another below them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rootfs::AssembleError;

use crate::corpus_tars::{Entry, dir, file, hard_link, opaque, symlink, tar, whiteout};
use crate::room::{LIMITS, Room, listing};
use crate::tars::{layer, origin};

fn unpack(room: &Room, entries: Vec<Entry>) -> model::Digest {
    let tar = tar(entries);
    room.store
        .unpack(&layer(&tar), &origin(), &tar[..], LIMITS)
        .unwrap();
    layer(&tar).diff_id
}

/// Everything in the store and outside, instances apart.
fn world(room: &Room) -> (std::collections::BTreeMap<String, String>, String) {
    let mut store = listing(&room.path().join("store"));
    store.retain(|name, _| name.starts_with("layers/"));
    // A graft is another name of a layer's file.
    for line in store.values_mut() {
        *line = line.replace("1 links", "links").replace("2 links", "links");
    }
    (store, fs::read_to_string(room.path().join("outside")).unwrap())
}

#[test]
fn links_of_earlier_layers_lead_nowhere_outside() {
    let up = "../".repeat(40);
    for climb in ["/", up.as_str()] {
        let room = Room::new();
        let here = format!("{climb}{}", room.path().to_str().unwrap().trim_start_matches('/'));
        let links = unpack(
            &room,
            vec![
                symlink("out", &here),
                symlink("file", format!("{here}/outside")),
                symlink("proc", "/proc/self/cwd"),
                symlink("root", "/proc/1/root"),
            ],
        );
        let neighbour = unpack(&room, vec![file("neighbour", "honest")]);
        let attack = unpack(
            &room,
            vec![
                file("out/outside", "hostile"),
                file("out/new", "hostile"),
                whiteout("out/", "store"),
                opaque("out/store/"),
                file("proc/new", "hostile"),
                file("root/tmp/new", "hostile"),
                file("file", "hostile"),
                hard_link("stolen", "file"),
            ],
        );
        let before = world(&room);
        let root = room.assemble(&[links, attack]);
        assert_eq!(world(&room), before);
        let inside = room.path().strip_prefix("/").unwrap();
        assert_eq!(
            fs::read_to_string(root.join(inside).join("outside")).unwrap(),
            "hostile"
        );
        assert_eq!(fs::read_to_string(root.join("stolen")).unwrap(), "hostile");
        fs::write(root.join(inside).join("outside"), "written by the container").unwrap();
        assert_eq!(world(&room), before);
        room.clean();
        let root = room.assemble(std::slice::from_ref(&neighbour));
        assert_eq!(fs::read_to_string(root.join("neighbour")).unwrap(), "honest");
        room.clean();
        room.assert_clean();
    }
}

#[test]
fn hard_links_reach_files_of_the_image_only() {
    let room = Room::new();
    let outside = room.path().join("outside").to_str().unwrap().to_owned();
    let base = unpack(
        &room,
        vec![
            dir("d"),
            file("d/f", "f"),
            symlink("out", "/"),
            symlink("up", "../../.."),
            file("gone", "x"),
        ],
    );
    let gone = unpack(&room, vec![whiteout("", "gone")]);
    for target in [
        &outside,
        &format!("out{outside}"),
        &format!("up{outside}"),
        "d",
        "nothing",
        "gone",
        "d/f/x",
        "",
    ] {
        let Ok(stolen) = std::panic::catch_unwind(|| unpack(&room, vec![hard_link("stolen", target)])) else {
            continue;
        };
        let refused = room
            .try_assemble(&[base.clone(), gone.clone(), stolen])
            .unwrap_err();
        assert!(
            matches!(&refused, AssembleError::MissingLink { .. }),
            "{target}: {refused}"
        );
        assert!(refused.to_string().contains("hard link stolen to"), "{refused}");
        room.assert_clean();
    }
    assert_eq!(fs::metadata(room.path().join("outside")).unwrap().nlink(), 1);
    // Alone, a layer has nothing below that it could mean.
    let alone = unpack(&room, vec![hard_link("stolen", "d/f")]);
    assert!(matches!(
        room.try_assemble(&[alone]),
        Err(AssembleError::MissingLink { .. })
    ));
}

#[test]
fn circles_and_depths_end() {
    let room = Room::new();
    let circles = unpack(
        &room,
        vec![
            symlink("a", "b"),
            symlink("b", "a"),
            symlink("self", "self"),
            symlink("grow", "grow/x"),
            symlink("many", "m0"),
        ]
        .into_iter()
        .chain((0..60).map(|n| symlink(format!("m{n}"), format!("m{}", n + 1))))
        .collect(),
    );
    let deep = "d/".repeat(900);
    let attack = unpack(
        &room,
        ["a", "self", "grow", "many"]
            .into_iter()
            .map(|name| file(format!("{name}/x"), "x"))
            .chain([file(format!("a/{deep}x"), "x")])
            .collect(),
    );
    // Where a link leads nowhere, the directory takes its place.
    let root = room.assemble(&[circles, attack]);
    for name in ["a", "self", "grow", "many"] {
        assert_eq!(
            fs::read_to_string(root.join(name).join("x")).unwrap(),
            "x",
            "{name}"
        );
    }
    room.clean();
    room.assert_clean();
}

#[test]
fn grafts_are_made_once_and_go_with_their_layer() {
    let room = Room::new();
    let base = unpack(&room, vec![dir("usr/bin"), symlink("bin", "usr/bin")]);
    let top = unpack(&room, vec![file("bin/x", "x")]);
    let layers = [base.clone(), top.clone()];
    let grafts = || listing(&room.path().join("store/grafts"));
    for _ in 0..2 {
        let root = room.assemble(&layers);
        assert_eq!(fs::read_to_string(root.join("usr/bin/x")).unwrap(), "x");
        assert!(root.join("bin").is_symlink());
        room.clean();
    }
    let made = grafts();
    assert_eq!(
        made.keys().filter(|name| name.ends_with(".meta")).count(),
        1,
        "{made:?}"
    );
    // A graft without its marker is what a crash leaves: it is made again.
    let marker = made.keys().find(|name| name.ends_with(".meta")).unwrap();
    fs::remove_file(room.path().join("store/grafts").join(marker)).unwrap();
    let root = room.assemble(&layers);
    assert_eq!(fs::read_to_string(root.join("bin/x")).unwrap(), "x");
    room.clean();
    let pin = room.store.pin(&[base]);
    room.store.make_room(u64::MAX).unwrap();
    drop(pin);
    assert_eq!(grafts().len(), 1, "{:?}", grafts());
    room.assert_clean();
}
