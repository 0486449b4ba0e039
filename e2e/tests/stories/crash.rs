//! Apps that do not do well: they crash, never listen, have no command, are the wrong kind. Each is told by its cause.

use std::time::Duration;

use serde_json::json;
use testkit::image::Image;
use testkit::wait;

use crate::world::{World, demand, host, probe};

#[tokio::test]
async fn a_crash_is_told_and_mended() -> anyhow::Result<()> {
    let world = World::new().await?;
    let image = world.probe_image().await?;
    let cf = world.client().await?;
    cf.run(&["push", "shaky", "--docker-image", &image, "-m", "64M"])
        .await?;
    // The connection ends with the process.
    let _ = world.get(&host("shaky"), "/exit/7").await;
    world.until_status(&host("shaky"), 200).await?;
    let events = wait::until("the crash event", Duration::from_secs(10), || async {
        cf.run(&["events", "shaky"])
            .await
            .ok()
            .filter(|text| text.contains("app.process.crash"))
    })
    .await?;
    demand(&events, "Exited with status 7")?;
    world.end()
}

#[tokio::test]
async fn what_can_be_known_fails_at_push() -> anyhow::Result<()> {
    let world = World::new().await?;
    let cf = world.client().await?;
    let mut foreign = probe()?;
    foreign.architecture = "s390x".to_owned();
    let mute = Image::of_busybox(json!({}))?;
    let foreign = world.put("foreign", &foreign, None).await?;
    let mute = world.put("mute", &mute, None).await?;
    let missing = format!("{}/nowhere:1", world.registry.host());
    for (image, cause) in [(&foreign, "s390x"), (&mute, "command"), (&missing, "nowhere")] {
        let text = cf
            .fail(&["push", "x", "--docker-image", image, "-m", "64M"])
            .await?;
        demand(&text, "StagingError")?;
        demand(&text, cause)?;
    }
    world.end()
}

#[tokio::test]
async fn an_app_on_another_port_is_told_which() -> anyhow::Result<()> {
    let world = World::new().await?;
    let cf = world.client().await?;
    let deaf =
        Image::of_busybox(json!({"Cmd": ["httpd", "-f", "-p", "9999"], "ExposedPorts": {"8080/tcp": {}}}))?;
    let image = world.put("deaf", &deaf, None).await?;
    cf.fail(&["push", "deaf", "--docker-image", &image, "-m", "64M", "-t", "3"])
        .await?;
    demand(&cf.run(&["logs", "deaf", "--recent"]).await?, "9999")?;
    world.end()
}

#[tokio::test]
async fn too_much_memory_is_out_of_memory() -> anyhow::Result<()> {
    let world = World::new().await?;
    let image = world.probe_image().await?;
    let cf = world.client().await?;
    cf.run(&["push", "hungry", "--docker-image", &image, "-m", "64M"])
        .await?;
    let _ = world.get(&host("hungry"), "/memory/200").await;
    let events = wait::until("the crash event", Duration::from_secs(15), || async {
        cf.run(&["events", "hungry"])
            .await
            .ok()
            .filter(|text| text.contains("app.process.crash"))
    })
    .await?;
    demand(&events, "out of memory")?;
    world.end()
}
