//! A layer one repository handed out is not given to images of another, nor does anything tell that it is here.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rootfs::{LayerStore, Origin, UnpackError};

use crate::room::{LIMITS, Room, unpacker};
use crate::tars::{Tar, gzip, layer, origin};

struct Counted<'a>(&'a [u8], &'a AtomicU64);

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(into)?;
        self.1.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

fn stranger() -> Origin {
    Origin::new("registry.test/stranger/app").unwrap()
}

#[test]
fn another_repository_has_to_hand_out_the_whole_layer() {
    let room = Room::new();
    let tar = Tar::default().file("secret", vec![7; 300_000]).bytes();
    let wanted = layer(&tar);
    room.store.unpack(&wanted, &origin(), &tar[..], LIMITS).unwrap();
    let inode = fs::metadata(room.layer_dir(&wanted.diff_id)).unwrap().ino();
    assert!(!room.store.has(&wanted.diff_id, &stranger()));

    // A name alone gives nothing, and the error is the one of a layer that is not here.
    let other = Tar::default().file("mine", "x").bytes();
    let refused = room
        .store
        .unpack(&wanted, &stranger(), &gzip(&other)[..], LIMITS)
        .unwrap_err();
    assert!(matches!(refused, UnpackError::Digest { .. }), "{refused:?}");
    assert!(!room.store.has(&wanted.diff_id, &stranger()));

    let read = AtomicU64::new(0);
    let info = room
        .store
        .unpack(&wanted, &stranger(), Counted(&tar, &read), LIMITS)
        .unwrap();
    assert_eq!(read.load(Ordering::Relaxed), tar.len() as u64);
    assert_eq!(info.bytes, 300_000);
    assert!(room.store.has(&wanted.diff_id, &stranger()) && room.store.has(&wanted.diff_id, &origin()));
    // Running instances keep the directory they have.
    assert_eq!(
        fs::metadata(room.layer_dir(&wanted.diff_id)).unwrap().ino(),
        inode
    );
    let until = Instant::now() + Duration::from_secs(10);
    while fs::read_dir(room.path().join("store/tmp")).unwrap().count() > 0 {
        assert!(Instant::now() < until, "the second copy is not removed");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn who_handed_out_a_layer_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let tar = Tar::default().file("a", "x").bytes();
    let diff_id = layer(&tar).diff_id;
    let store = LayerStore::open(dir.path(), unpacker()).unwrap();
    for from in [origin(), stranger()] {
        store.unpack(&layer(&tar), &from, &tar[..], LIMITS).unwrap();
    }
    store.settle().unwrap();
    drop(store);
    let store = LayerStore::open(dir.path(), unpacker()).unwrap();
    assert!(store.has(&diff_id, &origin()) && store.has(&diff_id, &stranger()));
    assert!(!store.has(&diff_id, &Origin::new("registry.test/third").unwrap()));
}
