//! A developer's day: everything from the first login to the last delete, with every client there is.

use testkit::cf::Cf;

use crate::world::{World, demand, host};

#[tokio::test]
async fn from_login_to_delete() -> anyhow::Result<()> {
    let world = World::new().await?;
    let image = world.probe_image().await?;
    for (i, cf) in world.clients()?.iter().enumerate() {
        let name = cf.name();
        day(&world, cf, &image, &format!("org-{i}"))
            .await
            .map_err(|e| e.context(format!("with {name}")))?;
    }
    world.end()
}

async fn day(world: &World, cf: &Cf, image: &str, org: &str) -> anyhow::Result<()> {
    let app = format!("shop-{org}");
    let host = host(&app);
    cf.at_home(&world.platform.api, org, "dev").await?;
    demand(&cf.run(&["orgs"]).await?, org)?;
    demand(&cf.run(&["spaces"]).await?, "dev")?;
    demand(&cf.run(&["target"]).await?, org)?;
    demand(&cf.run(&["feature-flags"]).await?, "diego_docker")?;
    cf.run(&["disable-feature-flag", "diego_docker"]).await?;
    demand(
        &cf.fail(&["push", &app, "--docker-image", image]).await?,
        "Feature Disabled: diego_docker",
    )?;
    cf.run(&["enable-feature-flag", "diego_docker"]).await?;
    demand(&cf.run(&["feature-flag", "diego_docker"]).await?, "enabled")?;

    let pushed = cf
        .run(&[
            "push",
            &app,
            "--docker-image",
            image,
            "-m",
            "64M",
            "-k",
            "128M",
            "-i",
            "1",
        ])
        .await?;
    demand(&pushed, "running")?;
    anyhow::ensure!(world.get(&host, "/").await? == (200, "ok".to_owned()));
    demand(&cf.run(&["apps"]).await?, "web:1/1")?;
    let shown = cf.run(&["app", &app]).await?;
    demand(&shown, image)?;
    demand(&shown, "#0")?;

    variables(world, cf, &app).await?;
    routes(world, cf, &app).await?;

    cf.run(&["stop", &app]).await?;
    world.until_status(&host, 404).await?;
    cf.run(&["start", &app]).await?;
    world.until_status(&host, 200).await?;
    demand(&cf.run(&["events", &app]).await?, "audit.app.start")?;
    demand(&cf.run(&["oauth-token"]).await?, "bearer ")?;
    demand(&cf.run(&["curl", "/v3/apps"]).await?, &app)?;

    cf.run(&["delete", &app, "-f", "-r"]).await?;
    world.until_status(&host, 404).await?;
    cf.run(&["delete-space", "dev", "-o", org, "-f"]).await?;
    cf.run(&["delete-org", org, "-f"]).await?;
    cf.run(&["logout"]).await?;
    Ok(())
}

async fn variables(world: &World, cf: &Cf, app: &str) -> anyhow::Result<()> {
    let host = host(app);
    cf.run(&["set-env", app, "GREETING", "it's $1"]).await?;
    demand(&cf.run(&["env", app]).await?, "it's $1")?;
    anyhow::ensure!(
        !world.get(&host, "/env").await?.1.contains("GREETING"),
        "variables act at the next start"
    );
    cf.run(&["restart", app]).await?;
    demand(&world.get(&host, "/env").await?.1, "GREETING=it's $1\n")?;
    cf.run(&["unset-env", app, "GREETING"]).await?;
    cf.run(&["restage", app]).await?;
    anyhow::ensure!(!world.get(&host, "/env").await?.1.contains("GREETING"));

    cf.run(&["scale", app, "-i", "2"]).await?;
    demand(&cf.run(&["app", app]).await?, "#1")?;
    cf.run(&["scale", app, "-m", "96M", "-f"]).await?;
    demand(&world.get(&host, "/env").await?.1, "MEMORY_LIMIT=96m")?;
    Ok(())
}

async fn routes(world: &World, cf: &Cf, app: &str) -> anyhow::Result<()> {
    let domain = "apps.localhost";
    demand(&cf.run(&["domains"]).await?, domain)?;
    let other = format!("other-{app}");
    cf.run(&["create-route", domain, "--hostname", &other]).await?;
    demand(&cf.run(&["routes"]).await?, &other)?;
    cf.run(&["map-route", app, domain, "--hostname", &other, "--path", "/deep"])
        .await?;
    let target = format!("{other}.{domain}");
    testkit::wait::until("the route", std::time::Duration::from_secs(10), || async {
        world
            .get(&target, "/deep")
            .await
            .ok()
            .filter(|(status, body)| *status == 404 && body == "no such endpoint")
    })
    .await?;
    anyhow::ensure!(
        world.get(&target, "/").await?.0 == 404,
        "the path route serves only its path"
    );
    cf.run(&[
        "unmap-route",
        app,
        domain,
        "--hostname",
        &other,
        "--path",
        "/deep",
    ])
    .await?;
    cf.run(&[
        "delete-route",
        domain,
        "--hostname",
        &other,
        "--path",
        "/deep",
        "-f",
    ])
    .await?;
    cf.run(&["delete-route", domain, "--hostname", &other, "-f"])
        .await?;
    Ok(())
}

#[tokio::test]
async fn manifests_and_push_options() -> anyhow::Result<()> {
    let world = World::new().await?;
    let image = world.probe_image().await?;
    world.client().await?;
    for (i, cf) in world.clients()?.iter().enumerate() {
        cf.at_home(&world.platform.api, "acme", "dev").await?;
        let (one, two) = (format!("one-{i}"), format!("two-{i}"));
        let manifest = world.platform.scratch().join(format!("manifest-{i}.yml"));
        let text = format!(
            "applications:\n- name: {one}\n  docker: {{image: \"{image}\"}}\n  memory: 64M\n  instances: 2\n  env: {{COLOUR: red}}\n  \
             routes:\n  - route: {one}.apps.localhost\n- name: {two}\n  docker: {{image: \"{image}\"}}\n  memory: 64M\n  \
             health-check-type: http\n  health-check-http-endpoint: /\n  no-route: true\n"
        );
        std::fs::write(&manifest, text)?;
        let path = manifest.to_string_lossy().into_owned();
        cf.run(&["push", "-f", &path]).await?;
        demand(&world.get(&host(&one), "/env").await?.1, "COLOUR=red")?;
        demand(&cf.run(&["app", &one]).await?, "#1")?;
        anyhow::ensure!(world.get(&host(&two), "/").await?.0 == 404, "it has no route");
        let three = format!("three-{i}");
        cf.run(&[
            "push",
            &three,
            "-o",
            &image,
            "--no-start",
            "--random-route",
            "-m",
            "64M",
        ])
        .await?;
        demand(&cf.run(&["app", &three]).await?, "stopped")?;
        cf.run(&["start", &three]).await?;
        cf.run(&[
            "push",
            &three,
            "-o",
            &image,
            "-u",
            "process",
            "-t",
            "30",
            "-c",
            "exec /app",
        ])
        .await
        .map(|_| ())
        .or_else(|error| {
            // The probe's image has no shell: the crash must be told, not hidden.
            demand(&format!("{error:#}"), "Start unsuccessful")
        })?;
        for app in [&one, &two, &three] {
            cf.run(&["delete", app, "-f", "-r"]).await?;
        }
    }
    world.end()
}
