//! Row `start`: from the command to serving, in an empty data directory and in one that exists.
//!
//! The peers start beside it: PostgreSQL (with its initdb where the directory is empty) and docker-registry, the two
//! parts of such a platform that are at hand here.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use testkit::platform::Platform;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::Bench;
use super::http::first_200;
use super::meter::{Who, millis};
use super::pairs::{Series, Side};
use super::postgres::Postgres;

const PAIRS: usize = 9;
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures.
pub async fn run(bench: &Bench, results: &mut Vec<Series>) -> anyhow::Result<()> {
    let postgres = Postgres::find()?;
    let mut fresh = Series::new("start", "fresh directory", "initdb+postgres");
    let mut again = Series::new("start", "existing directory", "postgres");
    let mut registry = Series::new("start", "existing directory", "docker-registry");
    // The first round is warm-up: programs come from the disk.
    for round in 0..=bench.pairs(PAIRS) {
        let dir = tempfile::Builder::new().prefix("slb").tempdir_in("/tmp")?;
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
        let data = dir.path().join("data");
        let guard = Removed(&data);
        let first = ours(bench, &data).await?;
        let first_peer = postgres
            .as_ref()
            .map(|postgres| database(bench, postgres, Directory::Fresh))
            .transpose()?;
        let second = ours(bench, &data).await?;
        let second_peer = postgres
            .as_ref()
            .map(|postgres| database(bench, postgres, Directory::Existing))
            .transpose()?;
        let third = ours(bench, &data).await?;
        let third_peer = docker_registry(bench, dir.path()).await?;
        drop(guard);
        if round == 0 {
            continue;
        }
        for (series, side, peer) in [(&mut fresh, first, first_peer), (&mut again, second, second_peer)] {
            series.add(side, peer.unwrap_or_default());
        }
        registry.add(third, third_peer);
    }
    results.extend([fresh, again, registry]);
    Ok(())
}

/// Removes what a platform made, however its measurement ended.
struct Removed<'a>(&'a Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new(Platform::binary())
            .arg("down")
            .arg("--data-dir")
            .arg(self.0)
            .output();
    }
}

async fn ours(bench: &Bench, data: &Path) -> anyhow::Result<Side> {
    let sockets: Vec<TcpListener> = (0..3)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    let addresses: Vec<String> = sockets
        .iter()
        .map(|socket| socket.local_addr().map(|a| a.to_string()))
        .collect::<Result<_, _>>()?;
    drop(sockets);
    let [api, http, registry] = addresses.as_slice() else {
        anyhow::bail!("three ports")
    };
    let who = Who::Ours(Who::NO_TAG.to_owned());
    let reading = bench.meter.now(&who);
    let began = Instant::now();
    let mut child = Command::new(Platform::binary())
        .args([
            "up",
            "--api-listen",
            api,
            "--http-listen",
            http,
            "--registry-listen",
            registry,
            "--data-dir",
        ])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let both = async {
        tokio::try_join!(
            ready_line(&mut child, began),
            first_200(api, (api, "/healthz"), began)
        )
    };
    let both = tokio::time::timeout(PATIENCE, both).await;
    let spent = bench.meter.since(&who, &reading);
    let (line, healthy) = both.context("the platform was not ready in time")??;
    end(&mut child).await?;
    Ok(Side::new()
        .with("ready_ms", millis(healthy))
        .with("line_ms", millis(line))
        .with("cpu_ms", millis(spent.cpu)))
}

async fn ready_line(child: &mut Child, began: Instant) -> anyhow::Result<Duration> {
    let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
    while let Some(line) = lines.next_line().await? {
        if line.contains("ready") {
            // Kept open by the child's end of it only: what follows is a few lines a pipe can hold.
            let took = began.elapsed();
            child.stdout = Some(lines.into_inner().into_inner());
            return Ok(took);
        }
    }
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        tokio::io::AsyncReadExt::read_to_string(&mut BufReader::new(stderr), &mut said).await?;
    }
    anyhow::bail!("the platform ended: {said}")
}

async fn end(child: &mut Child) -> anyhow::Result<()> {
    let pid = child.id().context("it runs")?.to_string();
    let asked = Command::new("kill").args(["-TERM", &pid]).status().await?;
    ensure!(asked.success(), "cannot end process {pid}");
    tokio::time::timeout(PATIENCE, child.wait())
        .await
        .context("the platform did not end")??;
    Ok(())
}

#[derive(Clone, Copy)]
enum Directory {
    Fresh,
    Existing,
}

fn database(bench: &Bench, postgres: &Postgres, directory: Directory) -> anyhow::Result<Side> {
    let reading = bench.meter.now(&peer());
    let began = Instant::now();
    if let Directory::Fresh = directory {
        postgres.init()?;
    }
    let (server, ready) = postgres.start(began)?;
    let spent = bench.meter.since(&peer(), &reading);
    drop(server);
    Ok(Side::new()
        .with("ready_ms", millis(ready))
        .with("cpu_ms", millis(spent.cpu)))
}

fn peer() -> Who {
    Who::Peer(Who::NO_TAG.to_owned())
}

async fn docker_registry(bench: &Bench, dir: &Path) -> anyhow::Result<Side> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let config = dir.join("registry.yml");
    let storage = dir.join("registry").display().to_string();
    std::fs::write(
        &config,
        format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {storage}}}}}\nhttp: {{addr: {address}}}\n"
        ),
    )?;
    let reading = bench.meter.now(&peer());
    let began = Instant::now();
    let mut child = Command::new("docker-registry")
        .arg("serve")
        .arg(&config)
        .env("OTEL_TRACES_EXPORTER", "none")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run docker-registry")?;
    let ready = first_200(&address, (&address, "/v2/"), began).await?;
    let spent = bench.meter.since(&peer(), &reading);
    end(&mut child).await?;
    Ok(Side::new()
        .with("ready_ms", millis(ready))
        .with("cpu_ms", millis(spent.cpu)))
}
