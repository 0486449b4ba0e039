//! Layers that go when the disk fills up: the least recently used first, never one in use.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rootfs::{IdRange, RootfsSpec};

use crate::room::{LIMITS, Room};
use crate::tars::{Tar, layer, origin};

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

#[test]
fn nothing_in_use_goes_however_busy_it_is() {
    const ROUNDS: u8 = 25;
    let room = Room::new();
    let (done, evicted) = (AtomicBool::new(false), AtomicU64::new(0));
    let tars: Vec<Vec<u8>> = (0..12)
        .map(|n: u8| {
            let name = format!("only-{n}");
            let tar = Tar::default().file("shared", [n; 2000]).file(&name, [n; 3000]);
            (0..20)
                .fold(tar, |tar, m| tar.file(&format!("{n}-{m}"), "x"))
                .bytes()
        })
        .collect();
    let work = &|worker: u8| {
        let (dir, target) = (
            room.path().join(format!("i{worker}")),
            room.path().join(format!("t{worker}")),
        );
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
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8).map(|worker| scope.spawn(move || work(worker))).collect();
        let evict = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let removed = room.store.make_room(u64::MAX).unwrap();
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
    room.assert_clean();
}
