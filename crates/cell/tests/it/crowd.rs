//! Many instances of one image at the same time: it is fetched once.

use wire::v1::InstancePhase;

use crate::image::{busybox, push, zeros};
use crate::world::{story, until};

/// Instances of one app, as a scale-up asks for them.
const CROWD: usize = 50;

#[test]
fn fifty_starts_of_one_image_fetch_it_once() {
    story(async |world| {
        world.capacity.containers = Some(64);
        world.capacity.memory_mb = Some(4096);
        world.open().await;
        let image = push(&world.registry, "crowd", vec![busybox(), zeros("large", 4 << 20)]).await;
        let digests: Vec<String> = image.layers.iter().map(|layer| layer.digest.clone()).collect();
        // Pushing asks for nothing by GET, so every one of these is the cell's.
        let fetches = |world: &crate::world::World| {
            let gets = world
                .registry
                .requests()
                .into_iter()
                .filter(|request| request.starts_with("GET "));
            gets.filter(|request| digests.iter().any(|digest| request.ends_with(digest.as_str())))
                .collect::<Vec<_>>()
        };
        let specs: Vec<_> = (0..CROWD)
            .map(|_| {
                let mut spec = world.script(image.clone(), "sleep 1000");
                spec.memory_mb = 32;
                spec
            })
            .collect();
        assert_eq!(world.ask(&specs).await, []);
        for spec in &specs {
            world
                .until_phase(&spec.instance_guid, InstancePhase::Running)
                .await;
        }
        // The log is written after the answers: once it has this later request, it has all of them.
        let pusher = world.registry.pusher().expect("a client");
        pusher
            .blob("afterwards", b"x")
            .await
            .expect("the registry takes it");
        let listed = |request: &String| request.contains("/afterwards/");
        until(
            || world.registry.requests().iter().any(listed),
            || "the registry's log ends early".to_owned(),
        )
        .await;
        let mut fetched = fetches(world);
        fetched.sort();
        fetched.dedup();
        assert_eq!(fetches(world).len(), digests.len(), "{:?}", fetches(world));
        assert_eq!(fetched.len(), digests.len(), "each layer once");
    });
}
