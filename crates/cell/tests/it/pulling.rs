//! `kill -9` of the daemon at any moment of a pull: nothing half-made is ever used, the image arrives in the end, and
//! who runs does not notice.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use testkit::image::Layer;
use wire::v1::{Image, InstancePhase};

use crate::image::{busybox, push};
use crate::world::{World, story};

const ROUNDS: u64 = 20;
const KILLS: u64 = 5;
/// Longest time a daemon lives before it is killed, ms: about what pull and unpack of an image here take.
const LONGEST: u64 = 120;

#[test]
fn a_pull_goes_on_after_a_hundred_kills() {
    story(async |world| {
        let mut moments = Moments(0x005e_ed5a_11f0_0d00);
        let daemon = world.spawn_daemon().await;
        let base = world.busybox().await;
        let neighbour = world.run(&world.script(base, "sleep 1000")).await;
        world.until_phase(&neighbour, InstancePhase::Running).await;
        let since = status_of(world, &neighbour).await;
        daemon.kill();
        for round in 0..ROUNDS {
            let image = fresh(world, round).await;
            let mut spec = world.script(image.clone(), "sleep 1000");
            spec.memory_mb = 16;
            let mut daemon = world.spawn_daemon().await;
            let guid = world.run(&spec).await;
            for _ in 0..KILLS {
                tokio::time::sleep(Duration::from_millis(moments.next())).await;
                daemon.kill();
                daemon = world.spawn_daemon().await;
            }
            world.until_phase(&guid, InstancePhase::Running).await;
            assert_whole(world, &image);
            assert_eq!(
                status_of(world, &neighbour).await,
                since,
                "the neighbour was disturbed"
            );
            world.stop(&guid).await;
            assert!(!world.end_of(&guid).await.crashed);
            world.forget(&guid).await;
            daemon.kill();
        }
    });
}

/// An image the cell has never seen: a few layers, some of many files, some of a few large ones.
async fn fresh(world: &World, round: u64) -> Image {
    let many = (0..400).try_fold(Layer::new(), |layer, file| {
        layer.file(
            &format!("many/{round}/{file}"),
            0o644,
            format!("{round} {file}").repeat(40).as_bytes(),
        )
    });
    let large = |name: &str| {
        let content: Vec<u8> = (0..3_u32 << 18)
            .flat_map(|n| (n ^ u32::try_from(round).unwrap_or(0)).to_le_bytes())
            .collect();
        Layer::new().file(&format!("large-{name}-{round}"), 0o644, &content)
    };
    let layers = [Ok(busybox()), many, large("a"), large("b")];
    let layers = layers.into_iter().collect::<Result<Vec<_>, _>>();
    push(
        &world.registry,
        &format!("fresh-{round}"),
        layers.expect("memory takes them"),
    )
    .await
}

/// Every layer has its place and its marker, and nothing else is there.
fn assert_whole(world: &World, image: &Image) {
    let names = |dir: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(world.data_dir().join("layers").join(dir)).expect("a store");
        entries
            .map(|entry| {
                entry
                    .expect("listable")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect()
    };
    let (layers, markers) = (names("layers"), names("meta"));
    assert_eq!(layers, markers);
    for layer in &image.layers {
        assert!(layers.contains(layer.diff_id.trim_start_matches("sha256:")));
    }
    assert_eq!(names("tmp"), BTreeSet::new());
}

/// When the instance's phase began, and which.
async fn status_of(world: &World, guid: &str) -> (i64, InstancePhase) {
    let all = world.snapshot().await;
    let status = all.iter().find(|status| status.instance_guid == guid);
    status
        .map(|status| (status.since_ns, status.phase()))
        .expect("it is held")
}

/// Milliseconds, the same in every run.
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> u64 {
        // Constants of Knuth's MMIX.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % LONGEST
    }
}
