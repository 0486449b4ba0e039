//! The platform dies, in every way, at bad moments; apps go on, nothing is lost and nothing stays behind.

use std::time::Duration;

use testkit::wait;

use crate::world::{World, demand, host};

#[tokio::test]
async fn apps_outlive_the_platform() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let image = world.probe_image().await?;
    let cf = world.client().await?;
    cf.run(&["push", "steady", "--docker-image", &image, "-m", "64M"])
        .await?;
    let before = world.get(&host("steady"), "/env").await?.1;
    let guid = |env: &str| {
        env.lines()
            .find(|l| l.starts_with("CF_INSTANCE_GUID="))
            .map(str::to_owned)
    };

    world.platform.kill()?;
    world.platform.up().await?;
    world.until_status(&host("steady"), 200).await?;
    anyhow::ensure!(
        guid(&world.get(&host("steady"), "/env").await?.1) == guid(&before),
        "another instance answers"
    );

    let status = world.platform.terminate().await?;
    anyhow::ensure!(status.success(), "an orderly end is a success: {status}");
    world.platform.up().await?;
    world.until_status(&host("steady"), 200).await?;
    anyhow::ensure!(
        guid(&world.get(&host("steady"), "/env").await?.1) == guid(&before),
        "another instance answers"
    );
    world.get(&host("steady"), "/log/3").await?;
    wait::until(
        "logs of the adopted instance",
        Duration::from_secs(10),
        || async {
            cf.run(&["logs", "steady", "--recent"])
                .await
                .ok()
                .filter(|text| text.contains("line 2"))
        },
    )
    .await?;
    demand(&cf.run(&["app", "steady"]).await?, "1/1")?;
    world.end()
}

#[tokio::test]
async fn killed_in_the_middle_of_everything() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let image = world.probe_image().await?;
    let cf = world.client().await?;
    cf.run(&["push", "base", "--docker-image", &image, "-m", "64M"])
        .await?;
    for (round, pause_ms) in [0u64, 20, 60, 120, 250].into_iter().enumerate() {
        let app = format!("app-{round}");
        let (client, reference, name) = (cf.clone(), image.clone(), app.clone());
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            client
                .try_run(&["push", &name, "--docker-image", &reference, "-m", "64M"])
                .await
        });
        // Not a wait for something: the pause is what varies from round to round.
        tokio::time::sleep(Duration::from_millis(300 + pause_ms)).await;
        world.platform.kill()?;
        tasks.abort_all();
        world.platform.up().await?;
        world.until_status(&host("base"), 200).await?;
        cf.run(&["push", &app, "--docker-image", &image, "-m", "64M"])
            .await?;
        world.until_status(&host(&app), 200).await?;
        demand(&cf.run(&["app", &app]).await?, "1/1")?;
        cf.try_run(&["stop", &app]).await?;
    }
    world.end()
}
