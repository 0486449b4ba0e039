//! Images behind a password, and registries with a certificate of their own authority.

use testkit::docker_registry::Guard;

use crate::world::{World, demand, host, probe};

#[tokio::test]
async fn the_password_opens_and_never_shows() -> anyhow::Result<()> {
    let secret = "s3cr3t-w0rd";
    let world = World::with(&Guard::Password("bob".to_owned(), secret.to_owned()), &[]).await?;
    let image = world
        .put("team/private", &probe()?, Some(("bob", secret)))
        .await?;
    let cf = world.client().await?;
    let text = cf
        .fail(&["push", "p", "--docker-image", &image, "-m", "64M"])
        .await?;
    demand(&text, "team/private")?;
    let push = [
        "push",
        "p",
        "--docker-image",
        &image,
        "--docker-username",
        "bob",
        "-m",
        "64M",
    ];
    let wrong = cf
        .clone()
        .env("CF_DOCKER_PASSWORD", "wr0ng-w0rd")
        .fail(&push)
        .await?;
    anyhow::ensure!(!wrong.contains("wr0ng-w0rd"), "a password is shown:\n{wrong}");
    for client in world.clients()? {
        client.at_home(&world.platform.api, "acme", "dev").await?;
        client
            .clone()
            .env("CF_DOCKER_PASSWORD", secret)
            .run(&push)
            .await?;
        anyhow::ensure!(world.get(&host("p"), "/").await?.0 == 200);
        // The password is kept for later pulls: no variable needed now.
        client.run(&["restage", "p"]).await?;
    }
    let packages = cf.run(&["curl", "/v3/packages"]).await?;
    demand(&packages, "\"***\"")?;
    for text in [
        packages,
        cf.run(&["logs", "p", "--recent"]).await?,
        cf.run(&["events", "p"]).await?,
        world.platform.log(),
    ] {
        anyhow::ensure!(!text.contains(secret), "the password is shown:\n{text}");
    }
    let database = std::fs::read(world.platform.data_dir().join("db.sqlite"))?;
    anyhow::ensure!(
        !database.windows(secret.len()).any(|w| w == secret.as_bytes()),
        "it is in the database in clear"
    );
    world.end()
}
