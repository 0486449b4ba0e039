//! The store: completeness, crashes, two at a time, collection.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use rootfs::{LayerStore, StoreError, UnpackError};

use crate::room::{LIMITS, Room, names, unpacker};
use crate::tars::{Tar, digest, gzip, layer, origin};

#[test]
fn the_wrong_content_leaves_nothing() {
    let room = Room::new();
    let tar = Tar::default().file("a", "x").bytes();
    let mut wanted = layer(&tar);
    wanted.diff_id = digest(b"something else");
    let error = room
        .store
        .unpack(&wanted, &origin(), &gzip(&tar)[..], LIMITS)
        .unwrap_err();
    assert!(
        matches!(&error, UnpackError::Digest { actual, .. } if *actual == digest(&tar)),
        "{error:?}"
    );
    assert!(!room.store.has(&wanted.diff_id, &origin()));
    // Bytes after the archive's end belong to the digest too.
    let trailing = [&tar[..], b"trailing"].concat();
    assert!(
        room.store
            .unpack(&layer(&tar), &origin(), &trailing[..], LIMITS)
            .is_err()
    );
    room.store
        .unpack(&layer(&trailing), &origin(), &trailing[..], LIMITS)
        .unwrap();
    let truncated = &gzip(&tar)[..40];
    assert!(
        room.store
            .unpack(&layer(&tar), &origin(), truncated, LIMITS)
            .is_err()
    );
    room.assert_clean();
}

#[test]
fn a_readers_error_is_told_and_leaves_nothing() {
    struct Breaks(u64);
    impl Read for Breaks {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(1)
                .ok_or_else(|| io::Error::other("connection lost"))?;
            into.fill(0);
            Ok(into.len())
        }
    }
    let room = Room::new();
    let start = Tar::default().file("a", "x").bytes();
    let error = room
        .store
        .unpack(&layer(&start), &origin(), (&start[..]).chain(Breaks(3)), LIMITS)
        .unwrap_err();
    assert!(
        matches!(&error, UnpackError::Read(source) if source.to_string() == "connection lost"),
        "{error:?}"
    );
    room.assert_clean();
}

#[test]
fn a_complete_layer_is_not_read_again() {
    let room = Room::new();
    let tar = Tar::default().file("a", "xyz").bytes();
    let first = room
        .store
        .unpack(&layer(&tar), &origin(), &gzip(&tar)[..], LIMITS)
        .unwrap();
    let again = room
        .store
        .unpack(&layer(&tar), &origin(), &b"not even a tar"[..], LIMITS)
        .unwrap();
    assert_eq!(first, again);
    assert_eq!(room.store.size(&layer(&tar).diff_id), Some(3));
    assert_eq!(room.store.size(&digest(b"other")), None);
}

#[test]
fn two_at_a_time_share_one_unpacking() {
    struct Counted<'a>(&'a [u8], &'a AtomicU64);
    impl Read for Counted<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let got = self.0.read(into)?;
            self.1.fetch_add(got as u64, Ordering::Relaxed);
            Ok(got)
        }
    }
    let room = Room::new();
    let tar = (0..200)
        .fold(Tar::default(), |tar, n| {
            tar.file(&format!("f{n}"), [n as u8; 3000])
        })
        .bytes();
    let read = AtomicU64::new(0);
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                room.store
                    .unpack(&layer(&tar), &origin(), Counted(&tar, &read), LIMITS)
                    .unwrap();
            });
        }
    });
    assert_eq!(read.into_inner(), tar.len() as u64);
    room.assert_clean();
}

#[test]
fn when_the_first_fails_the_second_uses_its_own_blob() {
    /// Fails only once the other caller is on its way.
    struct Late(Arc<Barrier>);
    impl Read for Late {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            self.0.wait();
            Err(io::Error::other("lost"))
        }
    }
    let room = Room::new();
    let tar = Tar::default().file("a", "x").bytes();
    let barrier = Arc::new(Barrier::new(2));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            room.store
                .unpack(&layer(&tar), &origin(), Late(Arc::clone(&barrier)), LIMITS)
        });
        barrier.wait();
        room.store
            .unpack(&layer(&tar), &origin(), &tar[..], LIMITS)
            .unwrap();
        assert!(first.join().unwrap().is_err());
    });
}

#[test]
fn what_a_crash_left_is_removed_and_the_rest_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = LayerStore::open(&path, unpacker()).unwrap();
    let tars: Vec<_> = ["fresh", "settled"]
        .map(|name| Tar::default().file(name, name).bytes())
        .into();
    store
        .unpack(&layer(&tars[1]), &origin(), &tars[1][..], LIMITS)
        .unwrap();
    store.settle().unwrap();
    store
        .unpack(&layer(&tars[0]), &origin(), &tars[0][..], LIMITS)
        .unwrap();
    assert!(matches!(
        LayerStore::open(&path, unpacker()),
        Err(StoreError::Busy { .. })
    ));
    drop(store);

    // A crash in the middle: a half-filled draft, a layer without a marker, a marker without a layer, a torn one.
    let [torn, bare, lost] = ["torn", "bare", "lost"].map(|name| digest(name.as_bytes()));
    fs::create_dir_all(path.join(format!("tmp/{}.0/usr/bin", torn.hex()))).unwrap();
    fs::create_dir_all(path.join(format!("layers/{}/usr", bare.hex()))).unwrap();
    fs::create_dir_all(path.join(format!("layers/{}/usr", torn.hex()))).unwrap();
    fs::create_dir_all(path.join("layers/strange")).unwrap();
    fs::write(path.join("meta").join(torn.hex()), "slipway-layer 1\ndur").unwrap();
    fs::copy(
        path.join("meta").join(layer(&tars[1]).diff_id.hex()),
        path.join("meta").join(lost.hex()),
    )
    .unwrap();

    let store = LayerStore::open(&path, unpacker()).unwrap();
    assert!(
        tars.iter().all(|tar| store.has(&layer(tar).diff_id, &origin())),
        "a crash of the process loses no layer"
    );
    assert_eq!(
        (names(&path.join("layers")).len(), names(&path.join("meta")).len()),
        (2, 2)
    );
    assert!(names(&path.join("tmp")).is_empty());
    drop(store);

    // A power failure: another boot. Only what was settled counts.
    let marker = path.join("meta").join(layer(&tars[0]).diff_id.hex());
    let text = fs::read_to_string(&marker).unwrap();
    let boot = text.lines().nth(1).unwrap();
    fs::write(
        &marker,
        text.replace(boot, "00000000-0000-0000-0000-000000000000"),
    )
    .unwrap();
    let store = LayerStore::open(&path, unpacker()).unwrap();
    assert!(!store.has(&layer(&tars[0]).diff_id, &origin()));
    assert!(store.has(&layer(&tars[1]).diff_id, &origin()));
}

#[test]
fn directories_are_closed_to_the_hosts_users() {
    let room = Room::new();
    let mode = |name: &str| fs::metadata(room.path().join("store").join(name)).unwrap().mode() & 0o7777;
    assert_eq!(
        (mode(""), mode("layers"), mode("tmp"), mode("meta")),
        (0o711, 0o700, 0o700, 0o700)
    );
}

#[test]
fn collection_spares_the_pinned() {
    let room = Room::new();
    let [kept, pinned, unused] =
        ["kept", "pinned", "unused"].map(|name| room.unpack(Tar::default().file(name, name)));
    let keep = room.store.pin(std::slice::from_ref(&kept));
    let pin = room.store.pin(&[pinned.clone(), pinned.clone()]);
    let removed = room.store.make_room(u64::MAX).unwrap();
    assert_eq!((removed.layers, removed.bytes), (1, 6));
    assert!(
        room.store.has(&kept, &origin())
            && room.store.has(&pinned, &origin())
            && !room.store.has(&unused, &origin())
    );
    assert!(!room.layer_dir(&unused).exists());
    drop(pin);
    assert_eq!(room.store.make_room(u64::MAX).unwrap().layers, 1);
    let left = room.store.layers();
    assert_eq!(left.len(), 1);
    assert_eq!((&left[0].diff_id, left[0].info.bytes), (&kept, 4));
    assert!(left[0].last_used.elapsed().unwrap().as_secs() < 60);
    drop(keep);
    room.unpack(Tar::default().file("unused", "unused"));
    room.assert_clean();
}
