//! The operator's switch: off stops every image app and keeps what was configured, on brings all back.

use crate::world::{World, demand, host};

#[tokio::test]
async fn off_stops_and_on_brings_back() -> anyhow::Result<()> {
    let world = World::new().await?;
    let image = world.probe_image().await?;
    let cf = world.client().await?;
    for app in ["a", "b"] {
        cf.run(&["push", app, "--docker-image", &image, "-m", "64M"])
            .await?;
    }
    cf.run(&["disable-feature-flag", "diego_docker"]).await?;
    for app in ["a", "b"] {
        world.until_status(&host(app), 404).await?;
    }
    let shown = cf.run(&["app", "a"]).await?;
    demand(&shown, "started")?;
    demand(&shown, "0/1")?;
    for refused in [
        &["start", "a"][..],
        &["restage", "a"],
        &["push", "c", "--docker-image", &image],
    ] {
        let text = cf.fail(refused).await;
        // Starting what is started already is no news; everything else names the flag.
        match text {
            Ok(text) => demand(&text, "Feature Disabled: diego_docker")?,
            Err(_) if refused[0] == "start" => {}
            Err(error) => return Err(error),
        }
    }
    cf.run(&["set-env", "a", "KEPT", "yes"]).await?;
    cf.run(&["enable-feature-flag", "diego_docker"]).await?;
    for app in ["a", "b"] {
        world.until_status(&host(app), 200).await?;
    }
    world.end()
}
