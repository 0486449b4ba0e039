//! Logs: every line of an app, of staging, of the router, with its source.

use std::time::Duration;

use testkit::wait;

use crate::world::{World, demand, host};

#[tokio::test]
async fn every_source_is_heard() -> anyhow::Result<()> {
    let world = World::new().await?;
    let image = world.probe_image().await?;
    let cf = world.client().await?;
    cf.run(&["push", "chatty", "--docker-image", &image, "-m", "64M"])
        .await?;
    world.get(&host("chatty"), "/log/500").await?;
    for client in world.clients()? {
        client.at_home(&world.platform.api, "acme", "dev").await?;
        let recent = wait::until("the last line", Duration::from_secs(10), || async {
            client
                .run(&["logs", "chatty", "--recent"])
                .await
                .ok()
                .filter(|text| text.contains("line 499"))
        })
        .await?;
        for part in [
            "[APP/PROC/WEB/0]",
            "[STG/0]",
            "[API/0]",
            "[RTR/0]",
            "[CELL/0]",
            "line 0",
            "probe speaks on stderr too",
        ] {
            demand(&recent, part).map_err(|e| e.context(format!("with {}", client.name())))?;
        }
        anyhow::ensure!(recent.matches("line ").count() >= 500, "lines are missing");
    }
    world.end()
}
