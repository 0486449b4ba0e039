//! The platform's own registry: pushed to with a platform user, pulled from by the platform, closed to other tenants.

use testkit::apps;
use testkit::cf::Cf;
use testkit::image::{Destination, Image};
use testkit::platform::{PASSWORD, Platform};

use crate::world::{demand, host};

#[tokio::test]
async fn push_an_image_to_the_platform_itself() -> anyhow::Result<()> {
    let platform = Platform::start(&[]).await?;
    let cf = Cf::built_in(platform.scratch())?;
    cf.at_home(&platform.api, "acme", "dev").await?;
    cf.run(&["create-space", "other", "-o", "acme"]).await?;
    cf.run(&["enable-feature-flag", "diego_docker"]).await?;
    let image = Image::of_program(&apps::binary(apps::PROBE)?, 8080)?;
    let to = |login| Destination {
        registry: &platform.registry,
        repository: "acme/dev/shop",
        tag: "1",
        login,
    };
    anyhow::ensure!(image.push(&to(None)).await.is_err(), "strangers may not push");
    anyhow::ensure!(
        image.push(&to(Some(("admin", "wrong")))).await.is_err(),
        "wrong passwords may not push"
    );
    image.push(&to(Some(("admin", PASSWORD)))).await?;

    let reference = format!("{}/acme/dev/shop:1", platform.registry);
    cf.run(&["push", "shop", "--docker-image", &reference, "-m", "64M"])
        .await?;
    let answer = reqwest::Client::new()
        .get(format!("http://{}/", platform.router))
        .header("host", host("shop"))
        .send()
        .await?;
    anyhow::ensure!(answer.status() == 200);

    // An app of another space cannot run what this space keeps to itself.
    cf.run(&["target", "-s", "other"]).await?;
    let text = cf
        .fail(&["push", "thief", "--docker-image", &reference, "-m", "64M"])
        .await?;
    demand(&text, "StagingError")?;
    platform.down()
}
