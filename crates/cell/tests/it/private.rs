//! What one tenant's image brought to the cell is not there for another's.

use wire::v1::InstancePhase;

use crate::image::{busybox, push, zeros};
use crate::world::story;

#[test]
fn naming_anothers_layers_gives_nothing_until_the_own_repository_has_them() {
    story(async |world| {
        world.open().await;
        let secret = || vec![busybox(), zeros("secret", 100)];
        let victim = push(&world.registry, "victim/app", secret()).await;
        let guid = world.run(&world.script(victim.clone(), "sleep 1000")).await;
        world.until_phase(&guid, InstancePhase::Running).await;

        // The digests have leaked, and the thief writes them into a manifest of his own.
        let mut stolen = victim;
        stolen.reference = format!("{}/thief/app:latest", world.registry.host());
        let guid = world.run(&world.script(stolen, "cat /secret; sleep 1000")).await;
        let exit = world.end_of(&guid).await;
        assert!(exit.crashed && exit.not_app_fault, "{exit:?}");
        assert!(exit.description.contains("was not found"), "{exit:?}");

        let honest = push(&world.registry, "thief/app", secret()).await;
        let guid = world.run(&world.script(honest, "sleep 1000")).await;
        world.until_phase(&guid, InstancePhase::Running).await;
    });
}
