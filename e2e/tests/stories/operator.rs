//! What the operator says about registries and images at run time, without a restart of platform or app; and that
//! nobody else may say it.

use std::time::Duration;

use testkit::cf::Cf;
use testkit::docker_registry::DockerRegistry;
use testkit::pki::Pki;
use testkit::wait;

use crate::world::{World, demand, host, probe};

/// A developer in the targeted space, with the official client where there is one.
async fn developer(world: &World, admin: &Cf) -> anyhow::Result<Cf> {
    admin.run(&["create-user", "dana", "dana-password"]).await?;
    admin
        .run(&["set-space-role", "dana", "acme", "dev", "SpaceDeveloper"])
        .await?;
    let scratch = world.platform.scratch().join("dana");
    let official = Cf::official(&scratch)?.into_iter().next();
    let dana = official.map_or_else(|| Cf::built_in(&scratch), Ok)?;
    dana.run(&["api", &world.platform.api, "--skip-ssl-validation"])
        .await?;
    dana.run(&["auth", "dana", "dana-password"]).await?;
    dana.run(&["target", "-o", "acme", "-s", "dev"]).await?;
    Ok(dana)
}

fn push<'a>(app: &'a str, image: &'a str) -> [&'a str; 6] {
    ["push", app, "--docker-image", image, "-m", "64M"]
}

/// The guid of the one instance: it changes with every restart.
async fn instance(world: &World, app: &str) -> anyhow::Result<String> {
    let env = world.get(&host(app), "/env").await?.1;
    let line = env.lines().find(|line| line.starts_with("CF_INSTANCE_GUID="));
    Ok(line.unwrap_or_default().to_owned())
}

#[tokio::test]
async fn rules_hold_at_once_and_for_everybody() -> anyhow::Result<()> {
    let mut world = World::new().await?;
    let image = world.probe_image().await?;
    let at = world.registry.host();
    let admin = world.client().await?;
    let dana = developer(&world, &admin).await?;
    dana.run(&push("shop", &image)).await?;
    let before = instance(&world, "shop").await?;

    let rule = format!("{at}/probe");
    demand(&admin.run(&["registry", "deny", &rule]).await?, "OK")?;
    let text = dana.fail(&push("second", &image)).await?;
    demand(&text, &format!("deny rule \"{rule}\""))?;
    demand(&admin.run(&["registry", "violations"]).await?, "shop")?;
    demand(&admin.fail(&["registry", "check", &image]).await?, "✗")?;
    // It also holds after a crash of the platform; what runs is left alone.
    world.platform.kill()?;
    world.platform.up().await?;
    demand(&dana.fail(&push("second", &image)).await?, "deny rule")?;
    world.until_status(&host("shop"), 200).await?;
    anyhow::ensure!(instance(&world, "shop").await? == before, "the app was restarted");
    // Its layers are here: a restart asks no registry and is no business of the rules.
    dana.run(&["restart", "shop"]).await?;

    admin.run(&["registry", "deny", &rule, "--remove"]).await?;
    admin.run(&["registry", "allow", "docker.io"]).await?;
    demand(&dana.fail(&push("second", &image)).await?, "allow")?;
    admin.run(&["registry", "allow", &at]).await?;
    dana.run(&push("second", &image)).await?;
    demand(&admin.run(&["registry", "violations"]).await?, "allowed")?;
    demand(&admin.run(&["registry", "check", &image]).await?, "✓")?;
    demand(&admin.run(&["images"]).await?, "shop")?;
    world.end()
}

#[tokio::test]
async fn registries_are_opened_without_a_restart() -> anyhow::Result<()> {
    let world = World::new().await?;
    let image = world.probe_image().await?;
    let admin = world.client().await?;
    let dana = developer(&world, &admin).await?;
    dana.run(&push("shop", &image)).await?;
    let before = instance(&world, "shop").await?;

    let pki = Pki::new()?;
    let private = DockerRegistry::start(pki.registry()).await?;
    probe()?.push_by(&private.pusher()?, "team/tls", "1").await?;
    let trusted = format!("{}/team/tls:1", private.host());
    demand(&dana.fail(&push("tls", &trusted)).await?, &private.host())?;
    let file = world.platform.scratch().join("ca.pem");
    std::fs::write(&file, &pki.ca)?;
    let file = file.to_string_lossy();
    admin.run(&["registry", "trust-ca", &file]).await?;
    // A host with a loopback address is one the operator must name.
    admin.run(&["registry", "allow-address", "127.0.0.0/8"]).await?;
    dana.run(&push("tls", &trusted)).await?;

    let plain = DockerRegistry::start(&testkit::docker_registry::Guard::Open).await?;
    probe()?.push_by(&plain.pusher()?, "team/plain", "1").await?;
    let open = format!("{}/team/plain:1", plain.host());
    dana.fail(&push("plain", &open)).await?;
    let text = admin.fail(&["registry", "insecure", "http://x:1"]).await?;
    demand(&text, "HOST:PORT")?;
    admin.run(&["registry", "insecure", &plain.host()]).await?;
    dana.run(&push("plain", &open)).await?;

    admin
        .run(&["registry", "mirror", "gone.example.org", &world.registry.host()])
        .await?;
    let mirrored = "gone.example.org/probe:1";
    dana.run(&push("mirrored", mirrored)).await?;
    demand(&dana.run(&["app", "mirrored"]).await?, mirrored)?;
    anyhow::ensure!(instance(&world, "shop").await? == before, "an app was restarted");
    demand(&admin.run(&["registry", "settings"]).await?, "gone.example.org")?;
    world.end()
}

#[tokio::test]
async fn only_admins_may_look_and_change() -> anyhow::Result<()> {
    let world = World::new().await?;
    let admin = world.client().await?;
    developer(&world, &admin).await?;
    let dana = Cf::built_in(&world.platform.scratch().join("dana-built-in"))?;
    dana.run(&["api", &world.platform.api]).await?;
    dana.run(&["auth", "dana", "dana-password"]).await?;
    for command in [
        &["registry", "settings"][..],
        &["registry", "deny", "docker.io"],
        &["registry", "violations"],
        &["registry", "check", "docker.io/library/busybox"],
        &["images"],
    ] {
        demand(&dana.fail(command).await?, "You are not authorized")?;
    }
    let events = admin
        .run(&["curl", "/v3/audit_events?types=slipway.registry.update"])
        .await?;
    demand(&events, "\"total_results\":0")?;
    admin.run(&["registry", "deny", "evil.example.org"]).await?;
    let events = admin
        .run(&["curl", "/v3/audit_events?types=slipway.registry.update"])
        .await?;
    demand(&events, "evil.example.org")?;
    world.end()
}

#[tokio::test]
async fn root_can_be_refused_and_authorities_given() -> anyhow::Result<()> {
    let pki = Pki::new()?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("trusted.pem");
    std::fs::write(&file, &pki.ca)?;
    let file = file.to_string_lossy().into_owned();
    let world = World::with(
        &testkit::docker_registry::Guard::Open,
        &["--trusted-certs", &file],
    )
    .await?;
    let mut rooted = probe()?;
    rooted.config["User"] = "0:0".into();
    let rooted = world.put("rooted", &rooted, None).await?;
    let mut plain = probe()?;
    plain.config["User"] = "1000".into();
    let plain = world.put("plain", &plain, None).await?;
    let admin = world.client().await?;
    admin.run(&push("rooted", &rooted)).await?;
    let refusal = "Attempting to run process as root user, which is not permitted.";

    admin.run(&["registry", "root-user", "refuse"]).await?;
    world.until_status(&host("rooted"), 200).await?;
    demand(&admin.fail(&["restart", "rooted"]).await?, refusal)?;
    demand(&admin.fail(&push("again", &rooted)).await?, "not permitted")?;
    demand(&admin.run(&["registry", "violations"]).await?, "allow_root_user")?;
    admin.run(&push("plain", &plain)).await?;
    demand(
        &world.get(&host("plain"), "/env").await?.1,
        "CF_SYSTEM_CERT_PATH=/etc/cf-system-certificates",
    )?;
    let inside = "/read/etc/cf-system-certificates/trusted-ca-1.crt";
    demand(&world.get(&host("plain"), inside).await?.1, "BEGIN CERTIFICATE")?;
    admin.run(&["registry", "root-user", "allow"]).await?;
    admin.run(&["start", "rooted"]).await?;
    wait::until("the root app", Duration::from_secs(30), || async {
        let answer = world.get(&host("rooted"), "/").await.ok()?;
        (answer.0 == 200).then_some(())
    })
    .await?;
    world.end()
}
