//! Two tenants: neither sees, reaches nor guesses the other's.

use testkit::cf::Cf;

use crate::world::{World, demand, host};

#[tokio::test]
async fn tenants_do_not_meet() -> anyhow::Result<()> {
    let world = World::new().await?;
    let image = world.probe_image().await?;
    let admin = world.client().await?;
    admin.run(&["create-org", "rival"]).await?;
    admin.run(&["create-space", "dev", "-o", "rival"]).await?;
    admin.run(&["create-user", "eve", "eve-password"]).await?;
    admin
        .run(&["set-space-role", "eve", "rival", "dev", "SpaceDeveloper"])
        .await?;
    admin.run(&["target", "-o", "acme", "-s", "dev"]).await?;
    admin
        .run(&["push", "secret", "--docker-image", &image, "-m", "64M"])
        .await?;
    let guid = admin.run(&["app", "secret", "--guid"]).await?.trim().to_owned();

    let eve = Cf::built_in(&world.platform.scratch().join("eve"))?;
    eve.run(&["api", &world.platform.api]).await?;
    eve.run(&["auth", "eve", "eve-password"]).await?;
    eve.run(&["target", "-o", "rival", "-s", "dev"]).await?;
    for path in ["", "/env", "/processes", "/droplets/current", "/packages"] {
        demand(
            &eve.run(&["curl", &format!("/v3/apps/{guid}{path}")]).await?,
            "App not found",
        )?;
    }
    eve.fail(&["target", "-o", "acme"]).await?;
    demand(&eve.run(&["curl", &format!("/api/v1/read/{guid}")]).await?, "not")?;
    demand(
        &eve.fail(&["enable-feature-flag", "diego_cnb"]).await?,
        "not authorized",
    )?;
    eve.run(&["target", "-o", "rival", "-s", "dev"]).await?;
    eve.run(&["push", "mine", "--docker-image", &image, "-m", "64M"])
        .await?;

    walls(&world).await?;
    world.end()
}

async fn walls(world: &World) -> anyhow::Result<()> {
    // From inside: not the neighbour, not the host, not the control plane, not the metadata address.
    let neighbour = world.get(&host("secret"), "/env").await?.1;
    let address = neighbour
        .lines()
        .find_map(|l| l.strip_prefix("CF_INSTANCE_INTERNAL_IP="))
        .unwrap_or_default();
    let api_port = world.platform.api.rsplit(':').next().unwrap_or_default();
    let gateway = address
        .rsplit_once('.')
        .map(|(net, _)| format!("{net}.1"))
        .unwrap_or_default();
    for (target, port) in [
        (address, "8080"),
        ("169.254.169.254", "80"),
        ("127.0.0.1", api_port),
        (gateway.as_str(), api_port),
    ] {
        let (_, answer) = world
            .get(&host("mine"), &format!("/connect/{target}/{port}"))
            .await?;
        demand(&answer, "closed").map_err(|e| e.context(format!("{target}:{port}")))?;
    }
    // Inside root, outside nobody; no capability that matters; seccomp on.
    let id = world.get(&host("mine"), "/id").await?.1;
    demand(&id, "Seccomp:\t2")?;
    demand(
        &world.get(&host("mine"), "/read/proc/self/uid_map").await?.1,
        "65536",
    )?;
    let map = |text: String| text.split_whitespace().nth(1).map(str::to_owned);
    let mine = map(world.get(&host("mine"), "/read/proc/self/uid_map").await?.1);
    let theirs = map(world.get(&host("secret"), "/read/proc/self/uid_map").await?.1);
    anyhow::ensure!(
        mine != theirs && mine.as_deref() != Some("0"),
        "id ranges {mine:?} and {theirs:?}"
    );
    Ok(())
}
