//! One address for all: with a system domain the router serves the platform's own hosts beside the apps, over HTTP and
//! over HTTPS with the platform's own CA; and routes keep the manners of the reference.

use std::net::{SocketAddr, TcpListener};

use testkit::platform::PASSWORD;

use crate::world::{World, demand, host};

#[tokio::test]
async fn the_router_serves_platform_and_apps() -> anyhow::Result<()> {
    let https = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let address = https.to_string();
    let args = ["--system-domain", "sys.localhost", "--https-listen", &address];
    let world = World::with(&testkit::docker_registry::Guard::Open, &args).await?;
    let ca = std::fs::read(world.platform.data_dir().join("keys/ca.pem"))?;
    let client = |names: &[&str]| -> anyhow::Result<reqwest::Client> {
        testkit::tls();
        let mut builder = reqwest::Client::builder().tls_certs_only([reqwest::Certificate::from_pem(&ca)?]);
        for name in names {
            builder = builder.resolve(name, SocketAddr::from(([127, 0, 0, 1], 0)));
        }
        Ok(builder.build()?)
    };
    let trusted = client(&["api.sys.localhost", "login.sys.localhost", "shop.apps.localhost"])?;
    let port = https.port();
    let root: serde_json::Value = serde_json::from_str(
        &trusted
            .get(format!("https://api.sys.localhost:{port}/"))
            .send()
            .await?
            .text()
            .await?,
    )?;
    anyhow::ensure!(
        root["links"]["login"]["href"] == format!("https://login.sys.localhost:{port}"),
        "{root}"
    );
    let form = format!(
        "grant_type=password&username=admin&password={}",
        PASSWORD.replace(' ', "+")
    );
    let token = trusted
        .post(format!("https://login.sys.localhost:{port}/oauth/token"))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("authorization", "Basic Y2Y6")
        .body(form)
        .send()
        .await?;
    anyhow::ensure!(token.status() == 200, "{}", token.text().await?);
    // The plain API address stays for this machine, so the usual client can be used for the rest.
    let cf = testkit::cf::Cf::built_in(world.platform.scratch())?;
    cf.run(&["api", &world.platform.api]).await?;
    let text = cf.fail(&["create-org", "x"]).await?;
    demand(&text, "Not logged in")?;
    let (status, body) = world.get(&host("nobody"), "/").await?;
    anyhow::ensure!(status == 404, "{status} {body}");
    demand(
        &body,
        "404 Not Found: Requested route ('nobody.apps.localhost') does not exist.",
    )?;
    let (status, body) = world.get("api.sys.localhost", "/v3/info").await?;
    anyhow::ensure!(status == 200 && body.contains("Slipway"), "{status} {body}");
    world.end()
}

#[tokio::test]
async fn a_request_in_flight_is_finished() -> anyhow::Result<()> {
    let world = World::new().await?;
    let image = world.probe_image().await?;
    let cf = world.client().await?;
    cf.run(&["push", "slow", "--docker-image", &image, "-m", "64M"])
        .await?;
    let slow_host = host("slow");
    let (answer, stopped) = tokio::join!(world.get(&slow_host, "/slow/1500"), async {
        // Long enough for the request to be on its way; what is tested is that it survives the stop.
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        cf.run(&["stop", "slow"]).await
    });
    stopped?;
    anyhow::ensure!(answer? == (200, "slept".to_owned()));
    world.end()
}
