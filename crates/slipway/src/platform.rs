//! The roles of one machine, joined: what starts in which order, and what stops in reverse.
//!
//! ```text
//! logs ◀── LogSink ─┬─ api + uaa (one plain origin)
//!                   ├─ scheduler ──▶ cell        all over sockets in the data directory
//!                   └─ router ◀── routes ── scheduler
//! ```
//! Sockets are bound before anything starts, so that a taken port is told while nothing is half made.

use std::collections::HashMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use base::{CancellationToken, Clock, Tasks};
use store::Store;
use wire::LogSink;
use wire::v1::cell_client::CellClient;

use crate::access::{LogAccess, RegistryGuard};
use crate::address::{Addresses, Names, Sockets};
use crate::config::{AtStop, Config};
use crate::data_dir::{DataDir, tag};
use crate::ground::{CELL_ID, Ground};
use crate::health::{self, Health};
use crate::tls;

/// Time requests in flight and roles get at the end; together with the rest below 5 s.
const DRAIN: Duration = Duration::from_secs(2);
/// Time apps get to stop when they are to be stopped with the platform: their own grace and some.
const STOP_APPS: Duration = Duration::from_secs(15);

/// A running platform.
pub struct Platform {
    /// For people.
    pub addresses: Addresses,
    at_stop: AtStop,
    tasks: Tasks,
    late_tasks: Tasks,
    cell: cell::Cell,
    router: RouterThread,
    store: Store,
    data: DataDir,
}

struct RouterThread {
    shutdown: CancellationToken,
    thread: std::thread::JoinHandle<()>,
}

impl Platform {
    /// Starts every role. On an error nothing keeps running.
    #[expect(
        clippy::too_many_lines,
        reason = "the roles in start order; parts of it would hide the order"
    )]
    pub async fn start(config: &Config, data: DataDir, sockets: Sockets) -> anyhow::Result<Self> {
        let (tasks, late_tasks) = (Tasks::new(), Tasks::new());
        // What an option can spoil comes first, before the kernel holds anything of ours.
        let names = Names::of(config, &sockets)?;
        let image = image_settings(&names)?;
        let (https, ca_file) = https(config, &data, sockets.https)?;
        let ground = Ground::lay(config, &data, names).await?;
        let storage = registry::Storage::open(registry::Settings::new(data.join("registry")))?;
        let run = &ground.run;

        // The log store outlives the others, so that their last lines arrive.
        let log_store = Arc::new(logs::Store::new(logs::Settings::default(), ground.clock.clone()));
        serve(
            &late_tasks,
            run,
            "logs",
            wire::Server::builder().add_service(logs::Ingest::service(log_store.clone())),
        )?;
        let sink = LogSink::start(&late_tasks, wire::connect(&run.join("logs.sock")));

        let cell = start_cell(
            config,
            &data,
            &tasks,
            (image.clone(), sink.clone(), ground.clock.clone()),
        )
        .await?;
        serve(
            &tasks,
            run,
            "cell",
            wire::Server::builder().add_service(cell.service()),
        )?;
        let channel = wire::connect(&run.join("cell.sock"));

        let settings = ground.scheduler(image.clone(), &channel, &sink)?;
        let scheduler = Arc::new(scheduler::Scheduler::start(settings, &tasks));
        serve(
            &tasks,
            run,
            "routes",
            wire::Server::builder().add_service(scheduler.routes_service()),
        )?;

        let state = ground.api(image, &channel, &sink)?;
        let table = Arc::new(router::Table::new());
        let health = Health {
            store: ground.store.clone(),
            cell: CellClient::new(channel),
            scheduler,
            table: table.clone(),
        };
        let front = api::router(state.clone())
            .merge(ground.uaa()?.router())
            .merge(logs::router(log_store, Arc::new(LogAccess(state.clone()))))
            .merge(health::router(health));
        serve_http(&tasks, sockets.api, front)?;
        let guard = RegistryGuard::new(state, Arc::new(ground.verifier()?));
        serve_http(
            &tasks,
            sockets.registry,
            registry::router(storage, Arc::new(guard)),
        )?;

        let listeners = [Some(router::Listener::Http(sockets.http)), https]
            .into_iter()
            .flatten()
            .collect();
        let router = start_router(table, listeners, (ground.names.system_hosts.clone(), sink), run)?;
        let addresses = ground.names.addresses(ground.password_file.clone(), ca_file);
        let store = ground.store;
        Ok(Self {
            addresses,
            at_stop: config.at_stop,
            tasks,
            late_tasks,
            cell,
            router,
            store,
            data,
        })
    }

    /// Ends the platform within 5 s; apps go on unless they are to be stopped.
    pub async fn stop(self) {
        if self.at_stop == AtStop::StopApps {
            let stopped = self.cell.stop_all(STOP_APPS).await;
            if let Err(error) = stopped {
                tracing::error!(error = %base::Report(&error), "apps did not stop");
            }
        }
        self.router.shutdown.cancel();
        self.tasks.shutdown(DRAIN).await;
        let thread = self.router.thread;
        let _ = tokio::time::timeout(DRAIN, tokio::task::spawn_blocking(move || thread.join())).await;
        self.late_tasks.shutdown(Duration::from_millis(500)).await;
        let _ = self.store.close().await;
        self.data.release();
    }
}

fn image_settings(names: &Names) -> anyhow::Result<image::Settings> {
    let registry = names.settings.registry.clone();
    image::Client::check_settings(&registry).context("bad registry options")?;
    Ok(image::Settings {
        registry,
        ..image::Settings::default()
    })
}

async fn start_cell(
    config: &Config,
    data: &DataDir,
    tasks: &Tasks,
    (image, logs, clock): (image::Settings, LogSink, Arc<dyn Clock>),
) -> anyhow::Result<cell::Cell> {
    let tag = tag(data.path());
    let mut tries = 0;
    loop {
        let settings = cell::Settings {
            cell_id: CELL_ID.to_owned(),
            data_dir: data.join("cell"),
            container_cidr: cell::container_network(&tag, config.container_network.as_deref())?,
            tag: tag.clone(),
            capacity: cell::Capacity {
                memory_mb: config.memory_mb,
                ..cell::Capacity::default()
            },
            disk_quota: config.disk_quota,
            collection: cell::Collection {
                image_store_mb: config.image_store_mb,
                ..cell::Collection::default()
            },
            image: image.clone(),
            trusted_certificates: config.trusted_certs.clone(),
            oci_runtime: config.oci_runtime.clone(),
            shim_command: vec!["/proc/self/exe".into(), "shim".into()],
            unpack_command: vec!["/proc/self/exe".into(), "unpack".into()],
            clock: clock.clone(),
        };
        tries += 1;
        match cell::Cell::open(settings, tasks.clone(), logs.clone()).await {
            // Another platform that starts at the same time was faster; the next range may be free.
            Err(error) if error.is_range_taken() && config.container_network.is_none() && tries < 5 => {}
            opened => return opened.context("the cell cannot start"),
        }
    }
}

fn https(
    config: &Config,
    data: &DataDir,
    socket: Option<TcpListener>,
) -> anyhow::Result<(Option<router::Listener>, Option<String>)> {
    let (Some(https), Some(socket)) = (&config.https, socket) else {
        return Ok((None, None));
    };
    let (chain, key, ca_file) = match &https.certificate {
        Some((chain, key)) => (chain.clone(), key.clone(), None),
        None => {
            let domains: Vec<&str> = [Some(config.apps_domain.as_str()), config.system_domain.as_deref()]
                .into_iter()
                .flatten()
                .collect();
            let issued = tls::issue(data, &domains)?;
            (
                issued.chain,
                issued.key,
                Some(issued.ca_file.display().to_string()),
            )
        }
    };
    let certificates = router::Certificates::new(&chain, &key).context("--https-cert and --https-key")?;
    Ok((
        Some(router::Listener::Https(socket, Arc::new(certificates))),
        ca_file,
    ))
}

/// The router has threads of its own, so that stalls of the API or the database add nothing to an app's latency.
fn start_router(
    table: Arc<router::Table>,
    listeners: Vec<router::Listener>,
    (system_hosts, logs): (HashMap<String, router::SystemBackend>, LogSink),
    run: &Path,
) -> anyhow::Result<RouterThread> {
    let shutdown = CancellationToken::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("router")
        .enable_all()
        .build()?;
    let settings = router::Settings {
        system_hosts,
        drain: DRAIN,
        ..router::Settings::new(Arc::new(move |envelope| logs.emit(envelope)))
    };
    let routes = run.join("routes.sock");
    let token = shutdown.clone();
    let thread = std::thread::Builder::new()
        .name("router-main".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let tasks = Tasks::under(&token);
                tasks.spawn(
                    "route feed",
                    router::watch(table.clone(), wire::connect(&routes), "router-1".to_owned()),
                );
                if let Err(error) = router::run(settings, table, listeners, token).await {
                    tracing::error!(error = %base::Report(&error), "the router ended");
                }
                tasks.shutdown(Duration::from_millis(200)).await;
            });
        })?;
    Ok(RouterThread { shutdown, thread })
}

fn serve(tasks: &Tasks, run: &Path, name: &'static str, router: wire::Router) -> anyhow::Result<()> {
    let incoming = wire::incoming(&run.join(format!("{name}.sock")))
        .with_context(|| format!("cannot open the socket {name}"))?;
    let token = tasks.token();
    tasks.spawn_graceful(name, async move {
        if let Err(error) = router
            .serve_with_incoming_shutdown(incoming, token.cancelled_owned())
            .await
        {
            tracing::error!(error = %base::Report(&error), name, "a service ended");
        }
    });
    Ok(())
}

fn serve_http(tasks: &Tasks, socket: TcpListener, service: axum::Router) -> anyhow::Result<()> {
    let socket = tokio::net::TcpListener::from_std(socket).map_err(|error| anyhow!(error))?;
    let token = tasks.token();
    tasks.spawn_graceful("http", async move {
        let served = axum::serve(socket, service)
            .with_graceful_shutdown(token.cancelled_owned())
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "an HTTP listener ended");
        }
    });
    Ok(())
}
