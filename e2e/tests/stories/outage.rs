//! A registry that is down or answers 500 touches nothing that is here: crashes, restarts and more instances need no
//! registry, and do not ask it. What does need it fails by host and cause, is never a crash of the app, and mends
//! itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use testkit::cf::Cf;
use testkit::docker_registry::{DockerRegistry, Guard};
use testkit::platform::Platform;
use testkit::wait;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::world::{World, demand, host, probe};

/// A door in front of a registry: it lets through, or answers 500, and counts who comes.
struct Gate {
    host: String,
    open: watch::Sender<bool>,
    seen: Arc<AtomicUsize>,
    _door: JoinSet<()>,
}

impl Gate {
    async fn before(registry: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let host = listener.local_addr()?.to_string();
        let registry: SocketAddr = registry.parse()?;
        let (open, watched) = watch::channel(true);
        let seen = Arc::new(AtomicUsize::new(0));
        let counter = seen.clone();
        let mut door = JoinSet::new();
        door.spawn(async move {
            let mut guests = JoinSet::new();
            while let Ok((guest, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                guests.spawn(serve(guest, registry, watched.clone()));
            }
        });
        Ok(Self {
            host,
            open,
            seen,
            _door: door,
        })
    }

    /// From now on everybody gets 500, also those whose connection is from before.
    fn close(&self) {
        self.open.send_replace(false);
        self.seen.store(0, Ordering::SeqCst);
    }

    fn open(&self) {
        self.open.send_replace(true);
    }

    fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

async fn serve(mut guest: TcpStream, registry: SocketAddr, mut open: watch::Receiver<bool>) {
    if *open.borrow_and_update() {
        let through = async {
            let mut behind = TcpStream::connect(registry).await?;
            copy_bidirectional(&mut guest, &mut behind).await
        };
        // Whichever ends first; the connection is over with either.
        tokio::select! {
            _ = through => {}
            _ = open.changed() => {}
        }
        return;
    }
    let mut request = [0; 4096];
    if guest.read(&mut request).await.is_ok_and(|count| count > 0) {
        let answer = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let _ = guest.write_all(answer).await;
        let _ = guest.shutdown().await;
    }
}

async fn crashes(cf: &Cf, app: &str) -> anyhow::Result<usize> {
    let events = cf.run(&["events", app]).await?;
    Ok(events.matches("app.process.crash").count())
}

/// Crash, restart and scale of an app whose layers are here.
async fn all_that_needs_no_registry(world: &World, cf: &Cf) -> anyhow::Result<()> {
    // The connection ends with the process.
    let _ = world.get(&host("shop"), "/exit/7").await;
    wait::until("the crash event", Duration::from_secs(20), || async {
        crashes(cf, "shop").await.ok().filter(|count| *count == 1)
    })
    .await?;
    world.until_status(&host("shop"), 200).await?;
    cf.run(&["restart", "shop"]).await?;
    cf.run(&["scale", "shop", "-i", "3"]).await?;
    wait::until("three instances", Duration::from_secs(30), || async {
        let shown = cf.run(&["app", "shop"]).await.ok()?;
        shown.contains("3/3").then_some(())
    })
    .await?;
    anyhow::ensure!(crashes(cf, "shop").await? == 1, "only our own crash counts");
    Ok(())
}

async fn curl(cf: &Cf, args: &[&str]) -> anyhow::Result<Value> {
    let text = cf.run(&[&["curl"], args].concat()).await?;
    serde_json::from_str(&text).with_context(|| text)
}

/// Stages the app's package and lets the app run what comes out, without starting it.
async fn stage(cf: &Cf, app: &str) -> anyhow::Result<()> {
    let packages = curl(cf, &[&format!("/v3/apps/{app}/packages")]).await?;
    let body = json!({"package": {"guid": packages["resources"][0]["guid"]}}).to_string();
    let build = curl(cf, &["/v3/builds", "-X", "POST", "-d", &body]).await?;
    let path = format!("/v3/builds/{}", build["guid"].as_str().context("no build")?);
    let droplet = wait::until("the droplet", Duration::from_secs(30), || async {
        let build = curl(cf, &[&path]).await.ok()?;
        build["droplet"]["guid"].as_str().map(str::to_owned)
    })
    .await?;
    let path = format!("/v3/apps/{app}/relationships/current_droplet");
    let body = json!({"data": {"guid": droplet}}).to_string();
    curl(cf, &[&path, "-X", "PATCH", "-d", &body]).await?;
    Ok(())
}

#[tokio::test]
async fn apps_live_on_while_their_registry_is_down() -> anyhow::Result<()> {
    let World { platform, registry } = World::new().await?;
    let at = registry.host();
    let world = World { platform, registry };
    let image = world.probe_image().await?;
    let cf = world.client().await?;
    cf.run(&["push", "shop", "--docker-image", &image, "-m", "64M"])
        .await?;
    let World { platform, registry } = world;
    drop(registry);
    // Another registry in its place keeps the world whole; nobody knows its port.
    let world = World {
        platform,
        registry: DockerRegistry::start(&Guard::Open).await?,
    };
    all_that_needs_no_registry(&world, &cf).await?;
    let text = cf
        .fail(&[
            "push",
            "new",
            "--docker-image",
            &format!("{at}/other:1"),
            "-m",
            "64M",
        ])
        .await?;
    for part in ["StagingError", at.as_str(), "refused"] {
        demand(&text, part)?;
    }
    world.end()
}

#[tokio::test]
async fn a_broken_registry_is_not_asked_and_breaks_no_app() -> anyhow::Result<()> {
    let registry = DockerRegistry::start(&Guard::Open).await?;
    let gate = Gate::before(&registry.host()).await?;
    let platform = Platform::start(&["--insecure-registry", &gate.host]).await?;
    let world = World { platform, registry };
    world.probe_image().await?;
    let image = format!("{}/probe:1", gate.host);
    let cf = world.client().await?;
    cf.run(&["push", "shop", "--docker-image", &image, "-m", "64M"])
        .await?;

    gate.close();
    all_that_needs_no_registry(&world, &cf).await?;
    anyhow::ensure!(gate.seen() == 0, "the registry was asked {} times", gate.seen());
    let new = format!("{}/other:1", gate.host);
    let text = cf
        .fail(&["push", "new", "--docker-image", &new, "-m", "64M"])
        .await?;
    for part in ["StagingError", gate.host.as_str(), "500"] {
        demand(&text, part)?;
    }
    anyhow::ensure!(gate.seen() > 0, "a new image needs its registry");
    world.end()
}

#[tokio::test]
async fn layers_that_cannot_be_fetched_are_no_crash_and_come_later() -> anyhow::Result<()> {
    let registry = DockerRegistry::start(&Guard::Open).await?;
    let gate = Gate::before(&registry.host()).await?;
    let platform = Platform::start(&["--insecure-registry", &gate.host]).await?;
    let world = World { platform, registry };
    world.put("late", &probe()?, None).await?;
    let image = format!("{}/late:1", gate.host);
    let cf = world.client().await?;
    // Staged while the registry answers, started while it does not.
    cf.run(&[
        "push",
        "late",
        "--docker-image",
        &image,
        "-m",
        "64M",
        "--no-start",
    ])
    .await?;
    let guid = cf.run(&["app", "late", "--guid"]).await?.trim().to_owned();
    stage(&cf, &guid).await?;

    gate.close();
    cf.run(&["curl", "-X", "POST", &format!("/v3/apps/{guid}/actions/start")])
        .await?;
    let stats = format!("/v3/apps/{guid}/processes/web/stats");
    let details = wait::until("the reason", Duration::from_secs(60), || async {
        let stats = cf.run(&["curl", &stats]).await.ok()?;
        stats.contains("failed to pull").then_some(stats)
    })
    .await?;
    demand(&details, &gate.host)?;
    gate.open();
    world.until_status(&host("late"), 200).await?;
    anyhow::ensure!(crashes(&cf, "late").await? == 0, "a pull error is no crash");
    world.end()
}
