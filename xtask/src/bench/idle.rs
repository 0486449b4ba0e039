//! Row `idle`: memory and CPU time of a platform nobody uses, without an app and with one.
//!
//! The peers are parts a platform made of parts would have, at work at the same time: a registry, a database, a router.

use std::time::{Duration, Instant};

use anyhow::Context;
use testkit::apps;
use testkit::cf::Cf;
use testkit::docker_registry::{DockerRegistry, Guard};
use testkit::image::{Destination, Image};
use testkit::leaks;
use testkit::platform::{PASSWORD, Platform};

use super::Bench;
use super::meter::{Meter, Place, Who, millis};
use super::nginx::Nginx;
use super::pairs::{Series, Side};
use super::postgres::Postgres;
use super::process::{self, Process};

const WINDOWS: usize = 3;
const WINDOW: Duration = Duration::from_secs(30);
/// What a start leaves to do.
const SETTLE: Duration = Duration::from_secs(10);

/// Measures.
pub async fn run(bench: &Bench, results: &mut Vec<Series>) -> anyhow::Result<()> {
    let platform = Platform::start(&[]).await?;
    let pid = platform.pid().context("it runs")?;
    bench.meter.put(pid, Place::Ours)?;
    let registry = DockerRegistry::start(&Guard::Open).await?;
    let registry_pid = process::descendants_named("docker-registry")
        .first()
        .context("docker-registry runs")?
        .pid;
    let server = "server { listen @LISTEN@; return 204; }";
    let nginx = Nginx::start(&bench.meter, &bench.dir.path().join("idle"), (2, server)).await?;
    let mut peers = vec![registry_pid, nginx.pid()];
    let mut names = "docker-registry+nginx".to_owned();
    let postgres = Postgres::find()?;
    let database = match &postgres {
        Some(postgres) => {
            postgres.init()?;
            Some(postgres.start(Instant::now())?.0)
        }
        None => None,
    };
    if let Some(database) = &database {
        peers.push(database.pid());
        names.push_str("+postgres");
    }
    for pid in &peers {
        for process in process::tree(*pid) {
            bench.meter.put(process.pid, Place::Peer)?;
        }
    }
    let tag = leaks::tag(&platform.data_dir());
    let who = (Who::Ours(tag.clone()), Who::Peer(tag));
    for case in ["no app", "one app"] {
        if case == "one app" {
            push(&platform).await?;
        }
        tokio::time::sleep(SETTLE).await;
        let mut series = Series::new("idle", case, &names);
        while series.wants(bench.pairs(WINDOWS)) {
            let (ours, others) = window(&bench.meter, &who).await;
            series.add(platform_memory(ours, &process::tree(pid)), memory(others, &peers));
        }
        results.push(series);
    }
    drop(registry);
    Ok(())
}

/// CPU time of both sides over one window; they run at the same time.
async fn window(meter: &Meter, (who, beside): &(Who, Who)) -> (Side, Side) {
    let (ours, peers) = (meter.now(who), meter.now(beside));
    tokio::time::sleep(WINDOW).await;
    let (ours, peers) = (meter.since(who, &ours), meter.since(beside, &peers));
    let percent = |spent: super::meter::Spent| millis(spent.cpu) / millis(spent.wall) * 100.0;
    let side = |spent| Side::new().with("core_percent", percent(spent));
    (side(ours), side(peers))
}

fn platform_memory(side: Side, tree: &[Process]) -> Side {
    let program = tree
        .first()
        .map(|daemon| daemon.program.clone())
        .unwrap_or_default();
    let (mut daemon, mut shims, mut apps) = (0.0, 0.0, 0.0);
    for (index, process) in tree.iter().enumerate() {
        let kind = match process.program == program {
            true if index == 0 => &mut daemon,
            // Each app's shim and the container's first process.
            true => &mut shims,
            false => &mut apps,
        };
        *kind += process.pss_mib();
    }
    side.with("pss_mib", daemon + shims + apps)
        .with("daemon_pss_mib", daemon)
        .with("shims_pss_mib", shims)
        .with("app_pss_mib", apps)
}

fn memory(side: Side, peers: &[u32]) -> Side {
    let all = peers.iter().flat_map(|pid| process::tree(*pid));
    side.with("pss_mib", all.map(|process| process.pss_mib()).sum())
}

async fn push(platform: &Platform) -> anyhow::Result<()> {
    let cf = Cf::built_in(platform.scratch())?;
    cf.at_home(&platform.api, "bench", "dev").await?;
    cf.run(&["enable-feature-flag", "diego_docker"]).await?;
    let to = Destination {
        registry: &platform.registry,
        repository: "bench/dev/hello",
        tag: "1",
        login: Some(("admin", PASSWORD)),
    };
    Image::of_program(&apps::binary(apps::HELLO)?, 8080)?
        .push(&to)
        .await?;
    let image = format!("{}/bench/dev/hello:1", platform.registry);
    cf.run(&["push", "hello", "--docker-image", &image, "-m", "64M"])
        .await?;
    Ok(())
}
