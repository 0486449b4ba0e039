//! Images behind a password, and registries with a certificate of their own authority.

use testkit::cf::Cf;
use testkit::docker_registry::{DockerRegistry, Guard};
use testkit::pki::Pki;
use testkit::platform::Platform;

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

#[tokio::test]
async fn a_registry_of_a_private_authority() -> anyhow::Result<()> {
    let pki = Pki::new()?;
    let registry = DockerRegistry::start(pki.registry()).await?;
    probe()?.push_by(&registry.pusher()?, "team/tls", "1").await?;
    let image = format!("{}/team/tls:1", registry.host());
    // An internal address must be one the operator allows.
    let mut platform = Platform::start(&["--registry-allow-address", "127.0.0.0/8"]).await?;
    let cf = Cf::built_in(platform.scratch())?;
    cf.at_home(&platform.api, "acme", "dev").await?;
    cf.run(&["enable-feature-flag", "diego_docker"]).await?;
    let push = ["push", "t", "--docker-image", &image, "-m", "64M"];
    let text = cf.fail(&push).await?;
    for part in [registry.host().as_str(), "--registry-ca", "--insecure-registry"] {
        demand(&text, part)?;
    }
    let file = platform.scratch().join("ca.pem");
    std::fs::write(&file, &pki.ca)?;
    platform.terminate().await?;
    platform.add_args(&["--registry-ca", &file.to_string_lossy()]);
    platform.up().await?;
    cf.run(&push).await?;
    platform.down()
}
