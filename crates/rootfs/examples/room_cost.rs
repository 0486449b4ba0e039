//! What bounding an instance's disk costs its start and its end. Needs root.
//!
//! `cargo run --release -p rootfs --example room_cost -- DIR [MIB]`: `DIR` is on the filesystem to measure.

use std::path::Path;
use std::time::{Duration, Instant};

use rootfs::{DiskQuota, IdRange, LayerStore, Quota, Rootfs, RootfsSpec, Unpacker};

const STARTS: usize = 100;

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().expect("a directory");
    let mib: u64 = args.next().map_or(1014, |text| text.parse().expect("a number"));
    let dir = Path::new(&dir).join("room-cost");
    std::fs::create_dir_all(&dir).expect("it can be made");
    let store = LayerStore::open(&dir.join("layers"), Unpacker::new(Vec::new())).expect("a store");
    for (name, choice, ahead) in [
        ("none", DiskQuota::None, false),
        ("loop, made at the start", DiskQuota::Loop, false),
        ("loop, made ahead", DiskQuota::Loop, true),
    ] {
        let quota = match Quota::open(choice, &dir) {
            Ok(quota) => quota,
            Err(error) => {
                println!("{name}: {error}");
                continue;
            }
        };
        let rootfs = Rootfs::new(store.clone())
            .expect("an overlay")
            .with_quota(quota.clone());
        measure(name, &rootfs, &dir, mib << 20, || {
            if ahead {
                quota.stock().expect("stocked");
            }
        });
    }
    std::fs::remove_dir_all(&dir).expect("it can be removed");
}

fn measure(name: &str, rootfs: &Rootfs, dir: &Path, bytes: u64, before: impl Fn()) {
    let spec = RootfsSpec {
        layers: &[],
        instance_dir: &dir.join("i"),
        writable_bytes: Some(bytes),
        id_range: IdRange {
            first_host_id: 300_000,
            size: 65_536,
        },
        target: &dir.join("root"),
    };
    let (mut starts, mut writes, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..=STARTS {
        before();
        let start = Instant::now();
        rootfs.assemble(&spec).expect("assembled");
        let assembled = start.elapsed();
        std::fs::write(spec.target.join("f"), vec![1; 1 << 20]).expect("written");
        let written = start.elapsed();
        rootfs.unmount(spec.target).expect("unmounted");
        rootfs.discard(spec.instance_dir).expect("discarded");
        let ended = start.elapsed();
        // The first makes the template.
        if at > 0 {
            starts.push(assembled);
            writes.push(written - assembled);
            ends.push(ended - written);
        }
    }
    let shown = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        let at = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1e3;
        format!("{:.2} ms (p90 {:.2})", at(50), at(90))
    };
    println!(
        "{name}: assemble {}, first MiB {}, remove {}",
        shown(&mut starts),
        shown(&mut writes),
        shown(&mut ends)
    );
}
