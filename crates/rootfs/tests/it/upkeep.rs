//! Layers that go when the disk fills up: the least recently used first, never one in use.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rootfs::{IdRange, RootfsSpec};

use crate::room::{LIMITS, Room};
use crate::tars::{Tar, layer, origin};

/// Starts of each worker.
const ROUNDS: u8 = 25;

#[test]
fn the_least_recently_used_goes_first_and_only_as_much_as_is_asked_for() {
    let room = Room::new();
    let layers: Vec<_> = (0..4)
        .map(|n| room.unpack(Tar::default().file("f", [n; 100])))
        .collect();
    // The time of use is that of a file, and the kernel's clock for files ticks slowly.
    let age = |at: usize, seconds: u64| {
        let file = std::fs::File::open(room.path().join("store/meta").join(layers[at].hex())).unwrap();
        let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        file.set_modified(then).unwrap();
    };
    for (at, seconds) in [(0, 30), (1, 10), (2, 20), (3, 5)] {
        age(at, seconds);
    }
    let pin = room.store.pin(&layers[3..]);
    let idle: Vec<_> = room.store.idle().into_iter().map(|layer| layer.diff_id).collect();
    assert_eq!(idle, [1, 2, 0].map(|at| layers[at].clone()));
    room.store.touch(&layers[1..2]);
    assert_eq!(room.store.bytes(), 400);
    let removed = room.store.make_room(101).unwrap();
    assert_eq!((removed.layers, removed.bytes), (2, 200));
    let left: Vec<bool> = layers
        .iter()
        .map(|layer| room.store.size(layer).is_some())
        .collect();
    assert_eq!(left, [false, true, false, true]);
    assert_eq!(room.store.remove(&layers[3]).unwrap(), None);
    drop(pin);
    assert_eq!(room.store.remove(&layers[3]).unwrap(), Some(100));
    assert_eq!(room.store.remove(&layers[3]).unwrap(), None);
    room.assert_clean();
}

/// Layers that come and go while several use them.
struct Crowd {
    room: Room,
    tars: Vec<Vec<u8>>,
}

impl Crowd {
    fn new() -> Self {
        let tar = |n: u8| {
            let tar = Tar::default()
                .file("shared", [n; 2000])
                .file(&format!("only-{n}"), [n; 3000]);
            (0..20)
                .fold(tar, |tar, m| tar.file(&format!("{n}-{m}"), "x"))
                .bytes()
        };
        Self {
            room: Room::new(),
            tars: (0..12).map(tar).collect(),
        }
    }

    /// What one caller does again and again: pin, unpack what is not here, assemble, look, remove.
    fn work(&self, worker: u8) {
        let Self { room, tars } = self;
        let place = |name: &str| room.path().join(format!("{name}{worker}"));
        let (dir, target) = (place("i"), place("t"));
        for round in 0..ROUNDS {
            let picked = [0, 1, 2].map(|step| usize::from(worker + round * 5 + step * 3) % tars.len());
            let digests = picked.map(|at| layer(&tars[at]).diff_id);
            let _pin = room.store.pin(&digests);
            for at in picked {
                let tar = &tars[at];
                if !room.store.has(&layer(tar).diff_id, &origin()) {
                    room.store
                        .unpack(&layer(tar), &origin(), &tar[..], LIMITS)
                        .unwrap();
                }
            }
            let spec = RootfsSpec {
                layers: &digests,
                instance_dir: &dir,
                writable_bytes: None,
                id_range: IdRange {
                    first_host_id: 300_000 + u32::from(worker) * 65_536,
                    size: 65_536,
                },
                target: &target,
            };
            room.rootfs.assemble(&spec).unwrap();
            for at in picked {
                let text = std::fs::read(target.join(format!("only-{at}"))).unwrap();
                assert_eq!(
                    text,
                    [u8::try_from(at).unwrap(); 3000],
                    "worker {worker} round {round}"
                );
                assert_eq!(std::fs::read(target.join(format!("{at}-19"))).unwrap(), b"x");
            }
            room.rootfs.unmount(&target).unwrap();
            room.rootfs.discard(&dir).unwrap();
        }
    }
}

#[test]
fn nothing_in_use_goes_however_busy_it_is() {
    let crowd = Crowd::new();
    let (done, evicted) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let crowd = &crowd;
        let workers: Vec<_> = (0..8)
            .map(|worker| scope.spawn(move || crowd.work(worker)))
            .collect();
        let evict = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let removed = crowd.room.store.make_room(u64::MAX).unwrap();
                evicted.fetch_add(removed.layers, Ordering::Relaxed);
            }
        });
        let outcomes: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Ordering::Relaxed);
        evict.join().unwrap();
        for outcome in outcomes {
            outcome.unwrap();
        }
    });
    assert!(evicted.into_inner() > 0, "nothing was ever removed");
    crowd.room.assert_clean();
}
