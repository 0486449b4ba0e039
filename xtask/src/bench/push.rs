//! Row `push`: a new app of a cached tiny image with a new route, from the command to the first 200, with every client
//! there is. The peer does by hand what that takes, without an API, a database, accounts, logs or health checks.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;
use testkit::cf::Cf;
use testkit::image::{Destination, Image};
use testkit::platform::{PASSWORD, Platform};
use testkit::{apps, leaks};

use super::Bench;
use super::http::first_200;
use super::meter::{Place, Who, millis};
use super::nginx::Nginx;
use super::pairs::{Series, Side};
use super::peer::{self, Shell};

const PAIRS: usize = 9;
/// What goes on after an app was deleted must not be charged to the next one.
const REST: Duration = Duration::from_millis(500);
/// Stays the whole time, as on a platform in use.
const RESIDENT: &str = "resident";

/// Measures.
pub async fn run(bench: &Bench, results: &mut Vec<Series>) -> anyhow::Result<()> {
    let ours = Ours::start(bench).await?;
    let mut by_hand = ByHand::start(bench, &ours).await?;
    let mut clients: Vec<(Cf, Series)> = Vec::new();
    for cf in ours.clients().await? {
        let name = cf.name();
        clients.push((
            cf,
            Series::new("push", &name, &format!("{}+nginx", by_hand.runtime)),
        ));
    }
    // The first of each is warm-up.
    for round in 0..=bench.pairs(PAIRS) {
        for (cf, series) in &mut clients {
            let app = format!("app-{}-{round}", cf.name());
            let first = ours.push(bench, cf, &app).await?;
            tokio::time::sleep(REST).await;
            let second = by_hand
                .push((bench, &ours.beside), &format!("a{round}-{}", cf.name()))
                .await?;
            tokio::time::sleep(REST).await;
            if round > 0 {
                series.add(first, second);
            }
        }
    }
    results.extend(clients.into_iter().map(|(_, series)| series));
    Ok(())
}

/// The platform with an image.
struct Ours {
    platform: Platform,
    image: String,
    who: Who,
    beside: Who,
    built_in: Cf,
}

impl Ours {
    async fn start(bench: &Bench) -> anyhow::Result<Self> {
        let platform = Platform::start(&[]).await?;
        bench.meter.put(platform.pid().context("it runs")?, Place::Ours)?;
        let built_in = Cf::built_in(platform.scratch())?;
        built_in.at_home(&platform.api, "bench", "dev").await?;
        built_in.run(&["enable-feature-flag", "diego_docker"]).await?;
        let image = Image::of_program(&apps::binary(apps::HELLO)?, 8080)?;
        let to = Destination {
            registry: &platform.registry,
            repository: "bench/dev/hello",
            tag: "1",
            login: Some(("admin", PASSWORD)),
        };
        image.push(&to).await?;
        let tag = leaks::tag(&platform.data_dir());
        let ours = Self {
            image: format!("{}/bench/dev/hello:1", platform.registry),
            who: Who::Ours(tag.clone()),
            beside: Who::Peer(tag),
            platform,
            built_in,
        };
        ours.push(bench, &ours.built_in, RESIDENT).await?;
        Ok(ours)
    }

    /// Every client, logged in.
    async fn clients(&self) -> anyhow::Result<Vec<Cf>> {
        let mut all = vec![self.built_in.clone()];
        for cf in Cf::official(self.platform.scratch())? {
            cf.at_home(&self.platform.api, "bench", "dev").await?;
            all.push(cf);
        }
        Ok(all)
    }

    /// Pushes `app`, and removes it again unless it is to stay.
    async fn push(&self, bench: &Bench, cf: &Cf, app: &str) -> anyhow::Result<Side> {
        let port = self.platform.router.rsplit(':').next().unwrap_or_default();
        let host = format!("{app}.apps.localhost:{port}");
        let args = ["push", app, "--docker-image", &self.image, "-m", "64M"];
        let reading = bench.meter.now(&self.who);
        let begun = Instant::now();
        let command = async {
            cf.run(&args).await?;
            anyhow::Ok(begun.elapsed())
        };
        let (command, first) =
            tokio::try_join!(command, first_200(&self.platform.router, (&host, "/"), begun))?;
        let spent = bench.meter.since(&self.who, &reading);
        if app != RESIDENT {
            cf.run(&["delete", app, "-f", "-r"]).await?;
        }
        Ok(side(first, first, &spent)
            .with("command_ms", millis(command))
            .with("client_cpu_ms", millis(spent.parts.driver))
            .with("platform_cpu_ms", millis(spent.parts.servers))
            .with("container_cpu_ms", millis(spent.parts.containers)))
    }

    /// The bundle the platform wrote for the resident app.
    fn bundle(&self) -> anyhow::Result<Value> {
        let mut found = Vec::new();
        bundles(&self.platform.data_dir().join("cell"), 4, &mut found);
        let ours = found
            .into_iter()
            .find(|bundle| bundle["process"]["args"][0] == "/app");
        ours.context("the platform keeps no bundle of the resident app")
    }
}

/// `bare` is the peer's time without the pause of an nginx reload; we have none, so ours is that of the first 200.
fn side(first: Duration, bare: Duration, spent: &super::meter::Spent) -> Side {
    let side = Side::new()
        .with("first_200_ms", millis(first))
        .with("bare_ms", millis(bare))
        .with("cpu_ms", millis(spent.cpu));
    spent.judge(side)
}

fn bundles(dir: &Path, depth: usize, found: &mut Vec<Value>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name() == "config.json" {
            let bytes = std::fs::read(entry.path()).unwrap_or_default();
            found.extend(serde_json::from_slice::<Value>(&bytes));
        } else if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            bundles(&entry.path(), depth - 1, found);
        }
    }
}

/// The peer: an OCI runtime, `ip` and nginx.
struct ByHand {
    shell: Shell,
    nginx: Nginx,
    runtime: &'static str,
    number: u32,
    /// On the same disk as the platform's data.
    _dir: tempfile::TempDir,
}

impl ByHand {
    async fn start(bench: &Bench, ours: &Ours) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("slb").tempdir_in("/tmp")?;
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
        let http = "access_log off;\n  server { listen @LISTEN@ default_server; return 404; }\n  include apps/*.conf;";
        let nginx = Nginx::start(&bench.meter, &dir.path().join("nginx"), (2, http)).await?;
        let runtime = if Path::new("/usr/bin/crun").exists() {
            "crun"
        } else {
            "runc"
        };
        let shell = Shell::start(&bench.meter, &dir.path().join("shell"), runtime)?;
        let bundle = ours.bundle()?;
        let layer = shell.dir().join("layer");
        for inside in ["tmp", "proc", "sys", "dev", "etc"] {
            std::fs::create_dir_all(layer.join(inside))?;
        }
        std::fs::copy(apps::binary(apps::HELLO)?, layer.join("app"))?;
        let owner = peer::first_host_id(&bundle)?;
        peer::give(&layer, owner)?;
        std::fs::write(shell.dir().join("owner"), format!("{owner}:{owner}"))?;
        let rootfs = shell.dir().join("@ID@/rootfs");
        let template = peer::bundle(
            &bundle,
            &rootfs.display().to_string(),
            &bench.meter.apps_path("@ID@"),
        )?;
        std::fs::write(shell.dir().join("template.json"), serde_json::to_vec(&template)?)?;
        Ok(Self {
            shell,
            nginx,
            runtime,
            number: 0,
            _dir: dir,
        })
    }

    async fn push(&mut self, (bench, who): (&Bench, &Who), app: &str) -> anyhow::Result<Side> {
        self.number = self.number % 250 + 1;
        let (number, nginx) = (self.number, self.nginx.dir().display().to_string());
        let host = format!("{app}.test");
        let reading = bench.meter.now(who);
        let begun = Instant::now();
        self.shell
            .begin(&format!("up {app} {number} {nginx} {}", self.nginx.address))?;
        let first = first_200(&self.nginx.address, (&host, "/"), begun).await;
        let spent = bench.meter.since(who, &reading);
        self.shell.finish()?;
        let first = first?;
        self.shell.run(&format!("down {app} {number} {nginx}"))?;
        ensure!(
            !self.nginx.dir().join("apps").join(format!("{app}.conf")).exists(),
            "{app} is still there"
        );
        // Microseconds until the app ran and nginx was told. What follows until the first answer is nginx's own: it
        // sleeps 100 ms before it ends the old workers, and mostly those get the connections until then.
        let took = std::fs::read_to_string(self.shell.dir().join("took"))?;
        let took = Duration::from_micros(took.trim().parse().context("the script's own time")?);
        Ok(side(first, took, &spent))
    }
}
