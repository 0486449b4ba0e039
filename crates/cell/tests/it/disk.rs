//! The disk of instances and of the cell: limits, what is told of them, what goes when there is not enough.

use std::fs;
use std::time::{Duration, Instant};

use cell::Collection;
use wire::v1::{InstancePhase, StatsRequest};

use crate::image::{busybox, push, zeros};
use crate::world::{PATIENCE, World, story, until};

const MIB: u64 = 1 << 20;

/// Bytes on disk of a running instance, once they fulfil `wanted`.
async fn disk_of(world: &World, guid: &str, wanted: impl Fn(u64) -> bool) -> u64 {
    let start = Instant::now();
    loop {
        let instance_guids = vec![guid.to_owned()];
        let reply = world
            .client()
            .stats(StatsRequest { instance_guids })
            .await
            .unwrap();
        let bytes = reply
            .into_inner()
            .usage
            .first()
            .map_or(0, |usage| usage.disk_bytes);
        if wanted(bytes) {
            return bytes;
        }
        assert!(start.elapsed() < PATIENCE, "{bytes}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn an_app_finds_its_disk_full_and_no_other_does() {
    story(async |world| {
        world.open().await;
        assert_eq!(world.cell().disk_quota(), "loop");
        let image = world.busybox().await;
        let script = "dd if=/dev/zero of=/big bs=1M count=40; echo status $?; df -k / | tail -1; \
                      until echo y > /after; do sleep 0.05; done 2> /dev/null; echo freed; sleep 1000";
        let mut spec = world.script(image.clone(), script);
        spec.disk_mb = 20;
        let guid = world.run(&spec).await;
        world.until_phase(&guid, InstancePhase::Running).await;
        world.until_logged("No space left on device").await;
        world.until_logged("OUT status 1").await;
        let df = world.until_logged("100% /").await;
        let columns: Vec<String> = String::from_utf8_lossy(&df.payload)
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        let kilobytes: u64 = columns[1].parse().unwrap();
        assert!((15 << 10..22 << 10).contains(&kilobytes), "{columns:?}");
        let full = disk_of(world, &guid, |bytes| bytes > 19 * MIB).await;
        assert!(full < 22 * MIB, "{full}");

        let neighbour = world.script(
            image,
            "dd if=/dev/zero of=/big bs=1M count=15 && echo fits; sleep 1000",
        );
        let neighbour = world.run(&neighbour).await;
        world.until_phase(&neighbour, InstancePhase::Running).await;
        world.until_logged("OUT fits").await;

        // A daemon that comes later finds the same limits and figures.
        world.kill_daemon().await;
        world.open().await;
        disk_of(world, &guid, |bytes| bytes > 19 * MIB).await;
        let rootfs = world.data_dir().join("instances").join(&guid).join("rootfs");
        fs::remove_file(rootfs.join("big")).unwrap();
        world.until_logged("OUT freed").await;
        disk_of(world, &guid, |bytes| bytes < 5 * MIB).await;
    });
}

#[test]
fn an_image_that_leaves_no_room_is_refused_with_both_sizes() {
    story(async |world| {
        world.open().await;
        let base = busybox();
        let size = push(&world.registry, "base", vec![base]).await;
        let guid = world.run(&world.script(size, "sleep 1000")).await;
        world.until_phase(&guid, InstancePhase::Running).await;
        let of_busybox = world.cell().images()[0].bytes;
        let rest = usize::try_from(10 * MIB - of_busybox - 1000).unwrap();
        let image = push(&world.registry, "large", vec![busybox(), zeros("large", rest)]).await;
        let mut spec = world.script(image, "sleep 1000");
        spec.disk_mb = 10;
        let guid = world.run(&spec).await;
        let exit = world.end_of(&guid).await;
        assert!(exit.crashed && !exit.not_app_fault, "{exit:?}");
        let text = format!(
            "leaves no room to write in disk quota {}/{} bytes (10M of 10M)",
            10 * MIB - 1000,
            10 * MIB
        );
        assert!(exit.description.contains(&text), "{exit:?}");
    });
}

#[test]
fn images_are_listed_with_sizes_and_users() {
    story(async |world| {
        world.open().await;
        let first = push(&world.registry, "first", vec![busybox(), zeros("one", 3 << 20)]).await;
        let second = push(&world.registry, "second", vec![busybox(), zeros("two", 2 << 20)]).await;
        let mut guids = Vec::new();
        for mut image in [first.clone(), second] {
            image.username = "user".to_owned();
            image.password = "hunter2".to_owned();
            let guid = world.run(&world.script(image, "sleep 1000")).await;
            world.until_phase(&guid, InstancePhase::Running).await;
            guids.push(guid);
        }
        let images = world.cell().images();
        let shown: Vec<_> = images
            .iter()
            .map(|image| (image.exclusive_bytes, &image.instances[..]))
            .collect();
        assert_eq!(shown, [(2 * MIB, &guids[1..]), (3 * MIB, &guids[..1])]);
        assert_eq!(images[1].reference, first.reference);
        assert_eq!(
            images[0].bytes - images[0].exclusive_bytes,
            images[1].bytes - images[1].exclusive_bytes
        );
        assert!(
            images
                .iter()
                .all(|image| image.layers.len() == 2 && image.first_seen_ns <= image.last_used_ns)
        );
        world.stop(&guids[0]).await;
        world.end_of(&guids[0]).await;
        world.kill_daemon().await;
        world.open().await;
        let images = world.cell().images();
        // The first one was used last: its instance ended after the other began.
        let shown: Vec<_> = images
            .iter()
            .map(|image| (image.exclusive_bytes, &image.instances[..]))
            .collect();
        assert_eq!(shown, [(3 * MIB, &[][..]), (2 * MIB, &guids[1..])]);
        for entry in fs::read_dir(world.data_dir().join("images")).unwrap().flatten() {
            let text = String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned();
            assert!(!text.contains("hunter2"));
        }
    });
}

#[test]
fn above_the_mark_what_nobody_uses_goes_and_nothing_else() {
    story(async |world| {
        world.collection = Collection {
            image_store_mb: Some(1),
            ..Collection::default()
        };
        world.open().await;
        let used = push(&world.registry, "used", vec![busybox(), zeros("one", 1 << 20)]).await;
        let unused = push(&world.registry, "unused", vec![busybox(), zeros("two", 2 << 20)]).await;
        let stays = world
            .run(&world.script(used, "while :; do cat /one > /dev/null; sleep 0.1; done"))
            .await;
        world.until_phase(&stays, InstancePhase::Running).await;
        let goes = world.run(&world.script(unused, "exit 3")).await;
        world.end_of(&goes).await;
        // An ended instance may be started again any time: its layers stay until it is forgotten.
        assert_eq!(world.cell().images().len(), 2);
        world.forget(&goes).await;
        let records = || fs::read_dir(world.data_dir().join("images")).unwrap().count();
        until(|| records() == 1, || format!("{:?}", world.cell().images())).await;
        assert_eq!(world.cell().images()[0].instances, std::slice::from_ref(&stays));
        let one = world.data_dir().join("instances").join(&stays).join("rootfs/one");
        assert_eq!(fs::read(one).unwrap().len(), 1 << 20);
        assert_eq!(
            fs::read_dir(world.data_dir().join("layers/layers"))
                .unwrap()
                .count(),
            2
        );
        assert_eq!(fs::read_dir(world.data_dir().join("images")).unwrap().count(), 1);
    });
}

#[test]
fn below_the_reserve_nothing_is_accepted() {
    story(async |world| {
        world.capacity.disk_reserve_mb = Some(1 << 40);
        world.open().await;
        let image = world.busybox().await;
        let refused = world.ask(&[world.script(image, "sleep 1000")]).await;
        assert_eq!(refused.len(), 1);
        let reason = &refused[0].reason;
        assert!(
            reason.starts_with("insufficient resources: disk (the cell's filesystem has "),
            "{reason}"
        );
    });
}
