//! The roles of one machine, joined: what starts in which order, and what stops in reverse.
//!
//! ```text
//! logs ◀── LogSink ─┬─ api + uaa (one plain origin)
//!                   ├─ scheduler ──▶ cell        all over sockets in the data directory
//!                   └─ router ◀── routes ── scheduler
//! ```
//! Sockets are bound before anything starts, so that a taken port is told while nothing is half made.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use api::State;
use auth::{Minter, RegistryAccess, Verifier};
use base::{CancellationToken, Clock, SystemClock, Tasks};
use store::{Options, Store};
use wire::LogSink;
use wire::v1::cell_client::CellClient;

use crate::access::{LogAccess, RegistryGuard};
use crate::config::{AtStop, Config};
use crate::data_dir::{DataDir, tag};
use crate::health::{self, Health};
use crate::keys::{Keys, admin_password};
use crate::tls;

/// The one cell of one machine.
const CELL_ID: &str = "cell-1";
/// Time requests in flight and roles get at the end; together with the rest below 5 s.
const DRAIN: Duration = Duration::from_secs(2);
/// Time apps get to stop when they are to be stopped with the platform: their own grace and some.
const STOP_APPS: Duration = Duration::from_secs(15);

/// The bound sockets.
pub struct Sockets {
    api: TcpListener,
    http: TcpListener,
    https: Option<TcpListener>,
    registry: TcpListener,
}

impl Sockets {
    /// Binds all of them or none.
    pub fn bind(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            api: bind(config.api_listen, "api-listen")?,
            http: bind(config.http_listen, "http-listen")?,
            https: config
                .https
                .as_ref()
                .map(|https| bind(https.listen, "https-listen"))
                .transpose()?,
            registry: bind(config.registry_listen, "registry-listen")?,
        })
    }
}

fn bind(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    let socket = TcpListener::bind(address).with_context(|| {
        format!("cannot listen on {address}; free it, or choose another address with --{option}")
    })?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Where things are, for people.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// Target of `cf api`.
    pub api: String,
    /// An app named `NAME` is at this address with `NAME` in place of the star.
    pub apps: String,
    /// `HOST:PORT` of the own registry.
    pub registry: String,
    /// Where the admin's password can be read; `None` when the operator gave it.
    pub password_file: Option<String>,
    /// The CA to trust for HTTPS, when it is the platform's own.
    pub ca_file: Option<String>,
}

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

/// Names and addresses that follow from the options.
struct Names {
    settings: api::Settings,
    registry: String,
    system_hosts: HashMap<String, router::SystemBackend>,
}

impl Names {
    fn of(config: &Config, sockets: &Sockets) -> anyhow::Result<Self> {
        let (api, registry) = (sockets.api.local_addr()?, sockets.registry.local_addr()?);
        let http = sockets.http.local_addr()?;
        let plain = format!("http://{}", reachable(api));
        let port = |standard: u16, port: u16| {
            if port == standard {
                String::new()
            } else {
                format!(":{port}")
            }
        };
        let origin = |host: &str| match (&config.system_domain, &sockets.https) {
            (None, _) => plain.clone(),
            (Some(domain), Some(https)) => {
                let port = https.local_addr().map_or(String::new(), |a| port(443, a.port()));
                format!("https://{host}.{domain}{port}")
            }
            (Some(domain), None) => format!("http://{host}.{domain}{}", port(80, http.port())),
        };
        let mut system_hosts = HashMap::new();
        if let Some(domain) = &config.system_domain {
            for host in ["api", "login", "uaa", "log-cache"] {
                system_hosts.insert(
                    format!("{host}.{domain}"),
                    router::SystemBackend {
                        address: reachable(api),
                    },
                );
            }
            system_hosts.insert(
                format!("registry.{domain}"),
                router::SystemBackend {
                    address: reachable(registry),
                },
            );
        }
        let settings = api::Settings {
            api_url: origin("api"),
            login_url: origin("login"),
            uaa_url: origin("uaa"),
            log_cache_url: origin("log-cache"),
            apps_domain: config.apps_domain.clone(),
            router_port_suffix: port(80, http.port()),
            platform_hosts: system_hosts.keys().cloned().collect(),
            default_registry: config.default_registry.clone(),
            default_memory_mb: 1024,
            default_disk_mb: 1024.min(i64::from(config.maximum_disk_mb)),
            maximum_disk_mb: i64::from(config.maximum_disk_mb),
        };
        Ok(Self {
            settings,
            registry: reachable(registry).to_string(),
            system_hosts,
        })
    }
}

impl Names {
    fn addresses(&self, password_file: Option<String>, ca_file: Option<String>) -> Addresses {
        let settings = &self.settings;
        Addresses {
            api: settings.api_url.clone(),
            apps: format!("http://*.{}{}", settings.apps_domain, settings.router_port_suffix),
            registry: self.registry.clone(),
            password_file,
            ca_file,
        }
    }
}

/// The address a client on this machine connects to.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::from(([127, 0, 0, 1], address.port()))
    } else {
        address
    }
}

/// What every role stands on.
struct Ground {
    clock: Arc<dyn Clock>,
    names: Names,
    keys: Keys,
    store: Store,
    minter: Arc<Minter>,
    password_file: Option<String>,
    run: PathBuf,
}

impl Ground {
    async fn lay(config: &Config, data: &DataDir, names: Names) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let keys = Keys::open(data)?;
        let store = Store::open(Options::Sqlite(data.join("db.sqlite")), clock.clone()).await?;
        api::seed(&store, &names.settings).await?;
        let (password, password_file) = match &config.admin_password {
            Some(password) => (password.clone(), None),
            None => admin_password(data).map(|(text, file)| (text, Some(file.display().to_string())))?,
        };
        uaa::seed(&store, password).await?;
        let issuer = format!("{}/oauth/token", names.settings.uaa_url);
        let minter = Arc::new(Minter::new(keys.signing.clone(), issuer));
        Ok(Self {
            clock,
            names,
            keys,
            store,
            minter,
            password_file,
            run: data.join("run"),
        })
    }

    fn verifier(&self) -> anyhow::Result<Verifier> {
        Ok(Verifier::new([self.keys.signing.jwk()], self.minter.issuer())?)
    }

    fn scheduler(
        &self,
        image: image::Settings,
        cell: &wire::Channel,
        logs: &LogSink,
    ) -> anyhow::Result<scheduler::Settings> {
        Ok(scheduler::Settings {
            store: self.store.clone(),
            sealer: self.keys.sealer.clone(),
            image: image::Client::new(image)?,
            platform: model::Platform::host(),
            cells: vec![(CELL_ID.into(), cell.clone())],
            logs: logs.clone(),
            own_registry: Some(own_registry(&self.names.registry, &self.minter, &self.clock)),
            timing: scheduler::Timing::default(),
        })
    }

    fn api(&self, cell: &wire::Channel, logs: &LogSink) -> anyhow::Result<State> {
        Ok(State::new(api::Parts {
            store: self.store.clone(),
            verifier: self.verifier()?,
            sealer: self.keys.sealer.clone(),
            logs: logs.clone(),
            cell: CellClient::new(cell.clone()),
            settings: self.names.settings.clone(),
        }))
    }

    fn uaa(&self) -> anyhow::Result<uaa::Uaa> {
        Ok(uaa::Uaa::new(uaa::Parts {
            store: self.store.clone(),
            minter: self.minter.clone(),
            verifier: Arc::new(self.verifier()?),
            former_keys: Vec::new(),
            settings: uaa::Settings {
                login_url: self.names.settings.login_url.clone(),
                uaa_url: self.names.settings.uaa_url.clone(),
            },
        }))
    }
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
        let image = image_settings(config, &names)?;
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

        let settings = ground.scheduler(image, &channel, &sink)?;
        let scheduler = Arc::new(scheduler::Scheduler::start(settings, &tasks));
        serve(
            &tasks,
            run,
            "routes",
            wire::Server::builder().add_service(scheduler.routes_service()),
        )?;

        let state = ground.api(&channel, &sink)?;
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

fn image_settings(config: &Config, names: &Names) -> anyhow::Result<image::Settings> {
    let mut insecure = config.insecure_registries.clone();
    insecure.push(names.registry.clone());
    let settings = image::Settings {
        default_registry: config.default_registry.clone(),
        insecure,
        extra_ca_pem: config.registry_ca.clone(),
        ..image::Settings::default()
    };
    image::Client::new(settings.clone()).context("bad registry options")?;
    Ok(settings)
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
            image: image.clone(),
            shim_command: vec!["/proc/self/exe".into(), "shim".into()],
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

/// How the platform itself reads images of its own registry: with a token that opens one space for a day.
fn own_registry(host: &str, minter: &Arc<Minter>, clock: &Arc<dyn Clock>) -> scheduler::OwnRegistry {
    let (minter, clock) = (minter.clone(), clock.clone());
    let credentials = move |space: &model::SpaceGuid| {
        let life = auth::Life {
            now: clock.now(),
            ttl: Duration::from_secs(24 * 3600),
        };
        let minted = minter.mint_registry(space, RegistryAccess::Pull, life);
        image::Credentials {
            username: "slipway".to_owned(),
            password: minted.token.into_exposed(),
        }
    };
    scheduler::OwnRegistry {
        host: host.to_owned(),
        credentials: Arc::new(credentials),
    }
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
