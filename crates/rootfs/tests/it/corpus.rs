//! Honest images: what a container sees is what umoci unpacks, byte for byte. Where umoci itself is wrong or cannot,
//! the case says so and is held against what the tar says.

use model::Digest;
use sys::userns::{IdExtent, user_namespace};

use crate::corpus_layout::{gnu_tar, umoci};
use crate::corpus_tars::{Entry, device, dir, fifo, file, hard_link, opaque, symlink, tar, whiteout};
use crate::corpus_view::{View, differences, inside, outside};
use crate::room::{LIMITS, RANGE, Room};
use crate::tars::{gzip, layer, origin};

/// Unpacks the tars, each packed in another way, and shows the image from inside.
fn seen(room: &Room, tars: &[Vec<u8>]) -> View {
    let layers: Vec<Digest> = tars
        .iter()
        .enumerate()
        .map(|(n, tar)| unpack(room, n, tar))
        .collect();
    let root = room.assemble(&layers);
    let map = [IdExtent {
        inside: 0,
        outside: RANGE.first_host_id,
        count: RANGE.size,
    }];
    let view = inside(&user_namespace(&map, &map).unwrap(), &root);
    room.clean();
    view
}

fn unpack(room: &Room, n: usize, tar: &[u8]) -> Digest {
    let blob = match n % 3 {
        0 => gzip(tar),
        1 => zstd::encode_all(tar, 3).unwrap(),
        _ => tar.to_vec(),
    };
    let layer = layer(tar);
    room.store.unpack(&layer, &origin(), &blob[..], LIMITS).unwrap();
    layer.diff_id
}

/// Both sides of an image, and their differences.
fn compared(layers: Vec<Vec<Entry>>) -> Vec<String> {
    let tars: Vec<_> = layers.into_iter().map(tar).collect();
    let room = Room::new();
    let ours = seen(&room, &tars);
    room.assert_clean();
    let beside = tempfile::tempdir().unwrap();
    let theirs = umoci(beside.path(), &tars).unwrap();
    differences(&ours, &outside(&theirs))
}

/// Equal but for `known`, which is exact.
#[track_caller]
fn check(layers: Vec<Vec<Entry>>, known: &[&str]) {
    assert_eq!(compared(layers), known);
}

/// Many images of equally many layers, each in a directory of its own, at once. Directories that umoci left touched
/// are not told, see [`UMOCI_TOUCHES`].
#[track_caller]
fn check_all(images: Vec<Vec<Vec<Entry>>>, known: &[&str]) {
    let count = images.iter().map(Vec::len).max().unwrap();
    let mut layers = vec![vec![]; count];
    layers[0].push(root());
    for (n, image) in images.into_iter().enumerate() {
        let own = format!("{n:02}");
        layers[0].push(dir(&own));
        for (layer, entries) in layers.iter_mut().zip(image) {
            layer.extend(entries.into_iter().map(|entry| entry.below(&own)));
        }
    }
    let mut found = compared(layers);
    found.retain(|line| !line.ends_with("000000000, now"));
    assert_eq!(found, known);
}

/// Where umoci has to make directories without an entry, or to remove what an opaque one hides, it gives only the
/// directory right above the entry its time again, and leaves others touched. Here they keep their time.
const UMOCI_TOUCHES: &str = "/: mtime, 0, now";

fn root() -> Entry {
    dir("./").at(1_000_000_000)
}

/// Something of everything to be changed by layers above.
fn base() -> Vec<Entry> {
    vec![
        root(),
        dir("usr").owner(1, 2),
        dir("usr/bin").at(77),
        file("usr/bin/tool", "tool").mode(0o755),
        dir("usr/lib"),
        file("usr/lib/so", "so"),
        symlink("bin", "usr/bin").owner(3, 4),
        symlink("lib", "/usr/lib"),
        dir("tmp").mode(0o1777),
        dir("d").mode(0o750).owner(5, 6).at(99),
        file("d/a", "a"),
        file("d/b", "b"),
        dir("d/e"),
        file("d/e/f", "f"),
        file("file", "file"),
        hard_link("file.2", "file"),
    ]
}

#[test]
fn packings_empty_layers_and_hundreds_of_them() {
    check(vec![vec![]], &[]);
    check(vec![vec![], base(), vec![], vec![root()]], &[]);
    let many = (0..200).map(|n| {
        let mut layer = vec![file(format!("n/{n}"), n.to_string()), file("last", n.to_string())];
        if n > 1 {
            layer.push(whiteout("n/", &(n - 2).to_string()));
        }
        layer
    });
    check(many.collect(), &[UMOCI_TOUCHES]);
}

#[test]
fn owners_modes_and_times() {
    let mut entries = vec![root()];
    for (n, mode) in [0, 0o4755, 0o2755, 0o1644, 0o7777, 0o600].into_iter().enumerate() {
        entries.push(file(format!("mode{n}"), "x").mode(mode));
        entries.push(dir(format!("dir{n}")).mode(mode | 0o100));
    }
    for id in [1, 999, 1000, 65_533, 65_534, 65_535] {
        entries.push(
            file(format!("owner{id}"), "x")
                .owner(id, 65_535 - id)
                .mode(0o6755),
        );
        entries.push(symlink(format!("link{id}"), "x").owner(id, id));
        entries.push(fifo(format!("fifo{id}")).owner(id, id));
    }
    for (n, time) in [0, 1, -1, -86_400, 4_294_967_296, 15_000_000_000]
        .into_iter()
        .enumerate()
    {
        entries.push(file(format!("time{n}"), "x").at(time));
        entries.push(dir(format!("dtime{n}")).at(time));
        entries.push(symlink(format!("ltime{n}"), "x").at(time));
        entries.push(fifo(format!("ftime{n}")).at(time));
    }
    for (n, time) in ["1.5", "-1.5", "1234567890.123456789", "5.1234567899", "-0.25"]
        .into_iter()
        .enumerate()
    {
        entries.push(file(format!("sub{n}"), "x").pax("mtime", time));
        entries.push(symlink(format!("lsub{n}"), "x").pax("mtime", time));
    }
    // The year 2445, which umoci's nanoseconds in 64 bits do not reach.
    let known = ["dtime5", "ftime5", "ltime5", "time5"]
        .map(|name| format!("/{name}: mtime, 15000000000000000000, -2147483648000000000"));
    check(vec![entries], &known.each_ref().map(String::as_str));
}

#[test]
fn names_long_odd_and_in_every_header() {
    let deep = ["directory-with-a-long-name"; 40].join("/");
    let long = "n".repeat(255);
    let entries = vec![
        root(),
        file(format!("gnu/{deep}/{long}"), "gnu"),
        symlink("gnu-link", format!("/{deep}/{long}")),
        hard_link(format!("gnu-hard/{long}"), format!("gnu/{deep}/{long}")),
        file("short", "pax").pax("path", format!("pax/{deep}/{long}")),
        symlink("pax-link", "short").pax("linkpath", format!("{deep}/{long}")),
        file(b"latin-\xe9\xff", "x"),
        file("x", "x").pax("path", b"pax-latin-\xe9\xff"),
        dir(b"dir-\x80"),
        symlink(b"dir-\x80/l", b"\xfe/\xff"),
        file("new\nline tab\t quote\" back\\ bell\x07", "x"),
        file("a.wh.b", "no whiteout"),
        file("..data", "dots"),
        file("...", "dots"),
        file("./leading", "x"),
        file("/absolute", "x"),
        file("slash//es/./x", "x"),
    ];
    // See UMOCI_TOUCHES.
    check(vec![entries], &["/: mtime, 1000000000000000000, now"]);
}

#[test]
fn attributes_and_capabilities() {
    let capability: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0];
    let entries = vec![
        root(),
        file("user", "x")
            .xattr("user.note", b"a\nb\0c")
            .xattr("user.empty", ""),
        dir("dir").xattr("user.dir", "d"),
        file("cap", "x")
            .mode(0o755)
            .xattr("security.capability", capability),
        file("cap-suid", "x")
            .mode(0o4755)
            .owner(7, 7)
            .xattr("security.capability", capability),
        hard_link("cap.2", "cap"),
    ];
    // A record without a value takes it back, says the rule for pax; GNU tar and others mean an attribute without one.
    check(vec![entries.clone()], &["/user: xattr user.empty, , -"]);
    // A layer above replaces a file with its attributes, and a directory's.
    check(
        vec![
            entries,
            vec![file("user", "y"), dir("dir").xattr("user.other", "o")],
        ],
        &[],
    );
}

#[test]
fn sparse_files_of_every_form() {
    let pieces: Vec<(u64, u64)> = (0..60).map(|n| (n * 10_240, 512)).collect();
    let many: String = (0..60).map(|n| format!("{n:<512}")).collect();
    let map: Vec<_> = pieces.iter().map(|(at, len)| format!("{at},{len}")).collect();
    let lines: String = pieces.iter().map(|(at, len)| format!("{at}\n{len}\n")).collect();
    let mut one = format!("60\n{lines}").into_bytes();
    one.resize(one.len().next_multiple_of(512), 0);
    one.extend_from_slice(many.as_bytes());
    let mut zero = file("x", &many)
        .pax("GNU.sparse.name", "pax00")
        .pax("GNU.sparse.size", "700000");
    zero = zero.pax("GNU.sparse.numblocks", "60");
    for (at, len) in &pieces {
        zero = zero
            .pax("GNU.sparse.offset", at.to_string())
            .pax("GNU.sparse.numbytes", len.to_string());
    }
    // GNU tar ends the map with an empty piece where the file ends.
    let ended = [&pieces[..], &[(700_000, 0)]].concat();
    let old = vec![
        root(),
        file("old", &many).sparse(700_000, &ended),
        file("old-few", "abc").sparse(40_000_000, &[(19_999_744, 3), (40_000_000, 0)]),
        file("old-hole", "").sparse(5_000_000, &[(5_000_000, 0)]),
        file("after", "x"),
    ];
    let pax = vec![
        root(),
        zero,
        file("x", &many)
            .pax("GNU.sparse.name", "pax01")
            .pax("GNU.sparse.size", "700000")
            .pax("GNU.sparse.numblocks", "60")
            .pax("GNU.sparse.map", map.join(",")),
        file("x", one)
            .pax("GNU.sparse.major", "1")
            .pax("GNU.sparse.minor", "0")
            .pax("GNU.sparse.name", "pax10")
            .pax("GNU.sparse.realsize", "700000"),
        file("after", "x"),
    ];
    check(vec![pax], &[]);
    // umoci does not know the old form, GNU tar does.
    let tars = [tar(old)];
    let room = Room::new();
    let ours = seen(&room, &tars);
    let beside = tempfile::tempdir().unwrap();
    let theirs = outside(&gnu_tar(beside.path(), &tars[0]));
    assert_eq!(differences(&ours, &theirs), [""; 0]);
}

#[test]
fn special_files() {
    let entries = vec![
        root(),
        fifo("fifo"),
        dir("dev"),
        device(b'3', "dev/null", (1, 3)),
        device(b'4', "dev/sda", (8, 0)),
    ];
    // By design: nothing in a layer is a device; the container's own /dev is the runtime's.
    check(
        vec![entries],
        &["/dev/null: only theirs", "/dev/sda: only theirs"],
    );
}

#[test]
fn hard_links_within_and_across_layers() {
    let above = |entries: &[Entry]| vec![base(), entries.to_vec()];
    let mut images = vec![
        // One of two names is replaced, removed, or gets a third from above.
        above(&[file("file", "new")]),
        above(&[whiteout("", "file")]),
        above(&[hard_link("d/third", "file")]),
        above(&[hard_link("d/third", "bin/tool"), hard_link("fourth", "d/third")]),
        above(&[hard_link("link.2", "bin")]),
        above(&[hard_link("bin/third", "usr/lib/so")]),
        above(&[hard_link("third", "file"), file("third", "own")]),
        above(&[hard_link("d", "file")]),
        vec![
            base(),
            vec![hard_link("third", "file")],
            vec![file("file", "new")],
        ],
        vec![
            base(),
            vec![hard_link("third", "file")],
            vec![hard_link("d/4", "third")],
        ],
    ];
    // The target is of this layer, replaced later in it.
    let alone = [
        vec![file("a", "1"), hard_link("b", "a"), file("a", "2")],
        vec![
            file("a", "1"),
            hard_link("b", "a"),
            hard_link("c", "b"),
            file("b", "2"),
        ],
        vec![symlink("s", "a"), hard_link("t", "s"), file("a", "x")],
    ];
    images.extend(alone.map(|entries| vec![entries]));
    check_all(images, &[]);
    check(vec![base(), vec![hard_link("/d/third", "/bin/tool")]], &[]);
}

#[test]
fn whiteouts_and_opaque_directories_in_every_order() {
    let mut images = vec![
        vec![
            base(),
            vec![whiteout("d/", "a"), whiteout("", "file"), whiteout("d/", "e")],
        ],
        vec![base(), vec![whiteout("", "d")]],
        vec![
            base(),
            vec![
                whiteout("", "nothing"),
                whiteout("no/", "thing"),
                file("no/file", "x"),
            ],
        ],
        vec![base(), vec![dir("new"), whiteout("new/", "thing")]],
        // Seen through one more layer, and hidden things made again above.
        vec![base(), vec![whiteout("", "d")], vec![file("d/again", "x")]],
        vec![base(), vec![opaque("d/")], vec![file("d/a", "again"), dir("d/e")]],
        vec![base(), vec![file("d/e/x", "x")], vec![opaque("d/e/")]],
        vec![base(), vec![opaque("d/")], vec![whiteout("d/e/", "f")]],
    ];
    // Of things made anew in the same layer, before and after.
    for entries in [
        &[whiteout("d/", "a"), file("d/a", "new")][..],
        &[whiteout("", "d"), dir("d"), file("d/new", "n")],
        &[whiteout("", "d"), file("d/new", "n")],
        &[opaque("d/"), file("d/new", "n")],
        &[opaque("d/"), file("d/new", "n"), whiteout("d/", "b")],
        &[opaque("d/"), dir("d"), dir("d/e"), file("d/e/g", "g")],
        &[whiteout("d/", "e"), file("d/e", "file over dir")],
        &[whiteout("", "file"), dir("file")],
    ] {
        images.extend(orders(entries).into_iter().map(|entries| vec![base(), entries]));
    }
    // Below a directory that no other layer has, a whiteout says nothing; here the directory is there, and empty.
    check_all(images, &["/07/d/e: only ours"]);
    check(vec![base(), vec![opaque("")], vec![file("x", "x")]], &[]);
}

/// Every order of the entries.
fn orders(entries: &[Entry]) -> Vec<Vec<Entry>> {
    if entries.len() < 2 {
        return vec![entries.to_vec()];
    }
    let mut all = Vec::new();
    for n in 0..entries.len() {
        let mut rest = entries.to_vec();
        let first = rest.remove(n);
        for order in orders(&rest) {
            all.push([vec![first.clone()], order].concat());
        }
    }
    all
}

#[test]
fn kinds_change_across_layers() {
    let kinds: [fn() -> Vec<Entry>; 4] = [
        || vec![file("x", "now a file")],
        || vec![symlink("x", "usr")],
        || vec![dir("x"), file("x/in", "in")],
        || vec![fifo("x")],
    ];
    let mut images = Vec::new();
    for first in kinds {
        for second in kinds {
            images.extend(kinds.map(|third| vec![[vec![dir("usr")], first()].concat(), second(), third()]));
        }
    }
    check_all(images, &[]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn entries_below_symlinks_of_lower_layers() {
    let relative = || {
        let mut base = base();
        base.push(symlink("lib", "usr/lib"));
        base
    };
    let image = |entries: &[Entry]| vec![relative(), entries.to_vec()];
    let images = vec![
        image(&[file("bin/x", "x").mode(0o755)]),
        image(&[file("lib/x/y", "y"), dir("lib/x").mode(0o700)]),
        image(&[file("bin/tool", "replaced")]),
        image(&[whiteout("bin/", "tool")]),
        image(&[opaque("lib/"), file("lib/new", "n")]),
        image(&[file("bin/x", "x"), file("usr/bin/y", "y"), file("lib/so2", "2")]),
        // With an entry of its own the directory takes the symlink's place.
        image(&[dir("bin"), file("bin/x", "x")]),
        // The layer says the link again, and what lies below it.
        image(&[symlink("bin", "usr/bin"), file("bin/x", "x")]),
        image(&[symlink("sbin", "bin"), file("sbin/x", "x")]),
        image(&[symlink("e", "d/e"), file("e/g/h", "h"), dir("e/g").mode(0o711)]),
        vec![
            [relative(), vec![dir("d/e/g").mode(0o700).owner(8, 8)]].concat(),
            vec![symlink("e", "d/e"), file("e/g/h", "h"), dir("e/g").mode(0o711)],
        ],
        image(&[symlink("new", "usr/new"), file("new/x", "x")]),
        // Through several layers, dangling, up and out.
        vec![
            relative(),
            vec![symlink("usr/sbin", "bin")],
            vec![file("usr/sbin/x", "x")],
            vec![file("bin/x", "y")],
        ],
        vec![
            relative(),
            vec![symlink("dangling", "nowhere")],
            vec![file("dangling/x", "x")],
        ],
        vec![
            relative(),
            vec![symlink("usr/lib/in", "../bin")],
            vec![file("lib/in/x", "x"), file("lib/y", "y")],
        ],
        vec![
            relative(),
            vec![file("bin/x", "x")],
            vec![whiteout("", "bin")],
            vec![file("bin/y", "y")],
        ],
        vec![
            relative(),
            vec![file("bin/x", "x")],
            vec![file("bin/z", "z")],
            vec![whiteout("usr/bin/", "x")],
        ],
    ];
    check_all(images, &[]);
    check(
        vec![
            base(),
            vec![file("lib/x", "x")],
            vec![hard_link("lib/y", "bin/tool")],
        ],
        &[],
    );
    check(
        vec![
            base(),
            vec![symlink("up", "../../../../usr/lib")],
            vec![file("up/x", "x")],
        ],
        &[],
    );
}
