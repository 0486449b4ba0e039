//! Blobs that are damaged, absurd or not what they should be: refused by name, and nothing of them stays.

use std::io::{self, Read};

use crate::corpus_tars::{dir, file, odd, open_tar, symlink, tar, whiteout};
use crate::hostile_bounds::{sum, words};
use crate::room::{LIMITS, Room};
use crate::tars::{gzip, layer, origin};

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn damaged_and_absurd_blobs_are_refused_by_name_and_leave_nothing() {
    let room = Room::new();
    let honest = tar([file("a", [7; 3000]), dir("d"), symlink("l", "a")]);
    let (zipped, framed) = (gzip(&honest), zstd::encode_all(&honest[..], 3).unwrap());
    let cut = |blob: &[u8]| blob[..blob.len() - 7].to_vec();
    let with = |blob: &[u8], more: &[u8]| [blob, more].concat();
    let flipped = |at: usize| {
        let mut tar = honest.clone();
        tar[at] ^= 1;
        tar
    };
    for (name, blob, refusal) in [
        ("nothing", vec![], "has digest"),
        ("another archive", tar([file("b", "b")]), "has digest"),
        ("a bit of content", flipped(600), "has digest"),
        ("a bit of a header", flipped(10), "wrong checksum"),
        ("a cut archive", honest[..2000].to_vec(), "ends in the middle"),
        (
            "an archive without its end",
            honest[..honest.len() - 1024].to_vec(),
            "has digest",
        ),
        ("cut gzip", cut(&zipped), "cannot read or decompress"),
        ("cut zstd", cut(&framed), "cannot read or decompress"),
        (
            "garbage after gzip",
            with(&zipped, b"garbage"),
            "cannot read or decompress",
        ),
        (
            "garbage after zstd",
            with(&framed, b"garbage"),
            "cannot read or decompress",
        ),
        (
            "garbage after the archive",
            with(&honest, b"garbage"),
            "has digest",
        ),
        (
            "another archive after gzip",
            with(&zipped, &gzip(&tar([file("more", "x")]))),
            "has digest",
        ),
        ("no archive", b"<html>".repeat(1000), "wrong checksum"),
    ] {
        let error = room
            .store
            .unpack(&layer(&honest), &origin(), &blob[..], LIMITS)
            .unwrap_err();
        assert!(words(&error).contains(refusal), "{name}: {}", words(&error));
        room.assert_clean();
    }
    // What stands behind an archive's end is part of its digest, and of nothing else.
    let padded = with(&honest, &tar([file("behind", "x")]));
    let info = room
        .store
        .unpack(&layer(&padded), &origin(), &gzip(&padded)[..], LIMITS)
        .unwrap();
    assert_eq!(info.entries, 3);
    let failing = io::Cursor::new(&zipped[..40]).chain(Failing);
    let error = room
        .store
        .unpack(&layer(&honest), &origin(), failing, LIMITS)
        .unwrap_err();
    assert!(words(&error).contains("the size is wrong"), "{}", words(&error));
    assert_eq!(room.store.layers().len(), 1);
    room.assert_clean();
}

/// As a registry's blob that is not what its manifest says.
struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the size is wrong"))
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn absurd_headers_are_refused_by_name() {
    let room = Room::new();
    let claims = |kind: u8, size: u64| {
        let mut header = open_tar([odd(kind, "x")]);
        header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        sum(&mut header);
        header
    };
    let many = (0..300).fold(file("f", ""), |f, n| f.xattr(&format!("user.{n}"), "x"));
    let mut pieces: Vec<_> = (0..70_000).map(|n| (n * 1024, 512)).collect();
    pieces.push((1 << 40, 0));
    for (name, tar, refusal) in [
        (
            "a pax header of a gigabyte",
            claims(b'x', 1 << 30),
            "exceed 1048576 bytes",
        ),
        (
            "a long name of a gigabyte",
            claims(b'L', 1 << 30),
            "exceed 1048576 bytes",
        ),
        (
            "a long link of a gigabyte",
            claims(b'K', 1 << 30),
            "exceed 1048576 bytes",
        ),
        (
            "a global header of eight gigabytes",
            claims(b'g', 0o77_777_777_777),
            "ends in the middle",
        ),
        ("a socket", tar([odd(b's', "socket")]), "unknown type 's'"),
        (
            "a multi-volume part",
            tar([odd(b'M', "part")]),
            "unknown type 'M'",
        ),
        ("300 attributes", tar([many]), "malformed"),
        (
            "an attribute of 70 kB",
            tar([file("f", "").xattr("user.big", vec![b'x'; 70_000])]),
            "extended attribute",
        ),
        (
            "a name of 4096 bytes",
            tar([file("n/".repeat(2048), "")]),
            "longer than 4095 bytes",
        ),
        (
            "a component of 256 bytes",
            tar([file("n".repeat(256), "")]),
            "longer than 255 bytes",
        ),
        (
            "a link target of 5000 bytes",
            tar([symlink("l", "t/".repeat(2500))]),
            "cannot create entry l",
        ),
        (
            "70000 pieces",
            tar([file("s", vec![1; 512]).sparse(1 << 40, &pieces)]),
            "sparse map",
        ),
        ("a whiteout that climbs", tar([whiteout("", "..")]), "\"..\""),
        ("one of the root", tar([whiteout("", "")]), "names nothing"),
        ("one above", tar([whiteout("../", "x")]), "\"..\""),
        (
            "one through a file",
            tar([file("f", ""), whiteout("f/", "x")]),
            "made one of its directories a file",
        ),
        (
            "an owner beyond the last",
            tar([file("f", "").owner(1 << 40, 0)]),
            "owner of entry f",
        ),
        (
            "a link to itself by two names",
            tar([symlink("a", "b"), symlink("b", "a"), file("a/x", "")]),
            "cannot open",
        ),
    ] {
        let error = room
            .store
            .unpack(&layer(&tar), &origin(), &tar[..], LIMITS)
            .unwrap_err();
        assert!(words(&error).contains(refusal), "{name}: {}", words(&error));
        room.assert_clean();
    }
    assert!(room.store.layers().is_empty());
}
