//! One test's own cell: data directory, tag, address range, registry, log store, and the proof that nothing of it is
//! left at the end, however the test went.

use std::fs;
use std::net::Ipv4Addr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base::{SystemClock, Tasks};
use cell::{Capacity, Cell, CellError, Collection, DiskQuota, Settings};
use futures_util::FutureExt;
use model::RegistrySettings;
use network::Cidr;
use tempfile::TempDir;
use testkit::docker_registry::{DockerRegistry, Guard};
use wire::v1::cell_client::CellClient;
use wire::v1::cell_event::Event;
use wire::v1::logs_server::{Logs, LogsServer};
use wire::v1::{
    AppIdentity, CellEvent, DescribeRequest, Envelope, EnvelopeBatch, ForgetRequest, HealthCheck, Image,
    IngestReply, InstancePhase, InstanceSpec, InstanceStatus, Refusal, RunRequest, StopRequest, WatchRequest,
};
use wire::{Channel, LogSink, Request, Response, Server, Status, Streaming};

use crate::image::{busybox, push};

/// What every container is to find among the operator's certificates; cells do not look into them.
pub const TRUSTED: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

pub const PATIENCE: Duration = Duration::from_secs(30);

/// A test's surroundings.
pub struct World {
    pub tag: String,
    pub registry: DockerRegistry,
    pub capacity: Capacity,
    pub collection: Collection,
    cidr: Cidr,
    dir: TempDir,
    lines: Arc<Mutex<Vec<Envelope>>>,
    /// Outlive the daemon: the log store.
    services: Tasks,
    daemon: Option<Daemon>,
}

/// A daemon with a cell.
struct Daemon {
    tasks: Tasks,
    cell: Cell,
}

/// Runs a story in a world of its own and cleans up behind it.
pub fn story(test: impl AsyncFnOnce(&mut World)) {
    base::init_tracing(base::LogFormat::Text, "warn");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut world = World::new().await;
        let outcome = AssertUnwindSafe(test(&mut world)).catch_unwind().await;
        world.clean().await;
        match outcome {
            Ok(()) => world.assert_nothing_left().await,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
}

impl World {
    async fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        testkit::tls();
        let (pid, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::tempdir().expect("temp dir");
        let third = u8::try_from((pid.wrapping_mul(13).wrapping_add(number)) % 250).expect("below 250");
        let second = u8::try_from(100 + pid % 100).expect("below 200");
        let world = Self {
            tag: format!("c{:x}{number}", pid % 0xFFFF),
            registry: DockerRegistry::start(&Guard::Open).await.expect("a registry"),
            capacity: Capacity {
                memory_mb: Some(1024),
                disk_mb: Some(4096),
                containers: Some(8),
                ..Capacity::default()
            },
            collection: Collection::default(),
            cidr: Cidr::new(Ipv4Addr::new(10, second, third, 0), 24),
            dir,
            lines: Arc::default(),
            services: Tasks::new(),
            daemon: None,
        };
        world.serve_logs();
        world
    }

    /// Starts a daemon and its cell, served on a socket.
    pub async fn open(&mut self) {
        assert!(self.daemon.is_none(), "one daemon at a time");
        let tasks = Tasks::new();
        let logs = LogSink::start(&tasks, wire::connect(&self.socket("logs")));
        let cell = Cell::open(self.settings(), tasks.clone(), logs)
            .await
            .expect("the cell opens");
        let incoming = wire::incoming(&self.socket("cell")).expect("a socket");
        let service = cell.service();
        let over = tasks.token();
        tasks.spawn_graceful("cell server", async move {
            let serve = Server::builder().add_service(service);
            serve
                .serve_with_incoming_shutdown(incoming, over.cancelled_owned())
                .await
                .expect("served");
        });
        self.daemon = Some(Daemon { tasks, cell });
    }

    /// Tries to open the same cell once more.
    pub async fn second_cell(&self) -> Result<(), CellError> {
        let tasks = Tasks::new();
        let logs = LogSink::start(&tasks, wire::connect(&self.socket("logs")));
        let opened = Cell::open(self.settings(), tasks.clone(), logs).await;
        tasks.shutdown(PATIENCE).await;
        opened.map(drop)
    }

    /// Ends the daemon without stopping anything.
    pub async fn kill_daemon(&mut self) {
        let Daemon { tasks, cell } = self.daemon.take().expect("a daemon");
        drop(cell);
        tasks.shutdown(PATIENCE).await;
    }

    fn settings(&self) -> Settings {
        Place {
            dir: self.dir.path().to_owned(),
            tag: self.tag.clone(),
            cidr: self.cidr.to_string(),
            registry: self.registry.host(),
            collection: self.collection,
        }
        .settings(self.capacity)
    }

    /// Starts a daemon in a process of its own, to be killed; it ends with this value at the latest.
    pub async fn spawn_daemon(&self) -> Process {
        let words = [
            self.dir.path().display().to_string(),
            self.tag.clone(),
            self.cidr.to_string(),
            self.registry.host(),
        ];
        let child = Command::new("/proc/self/exe")
            .args(["--exact", "killing::daemon", "--nocapture"])
            .env(DAEMON, words.join(" "))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("this test runs again");
        let process = Process(child);
        let start = Instant::now();
        while self.client().describe(DescribeRequest {}).await.is_err() {
            assert!(start.elapsed() < PATIENCE, "the daemon does not answer");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        process
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn cell(&self) -> &Cell {
        &self.daemon.as_ref().expect("a daemon").cell
    }

    pub fn client(&self) -> CellClient<Channel> {
        CellClient::new(wire::connect(&self.socket("cell")))
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.sock"))
    }

    /// The image of nearly all stories.
    pub async fn busybox(&self) -> Image {
        push(&self.registry, "busybox", vec![busybox()]).await
    }

    /// A spec whose program is a shell script, without health check.
    pub fn script(&self, image: Image, script: &str) -> InstanceSpec {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        InstanceSpec {
            instance_guid: format!("0f6ee6ab-8e2a-4d22-8dc3-{:06x}{number:06x}", std::process::id()),
            process_guid: "process-guid".to_owned(),
            process_version: "version-1".to_owned(),
            process_type: "web".to_owned(),
            index: 0,
            app: Some(AppIdentity {
                app_guid: "app-guid".to_owned(),
                app_name: "app".to_owned(),
                space_guid: "space-guid".to_owned(),
                space_name: "space".to_owned(),
                org_guid: "org-guid".to_owned(),
                org_name: "org".to_owned(),
            }),
            image: Some(image),
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            ports: vec![8080],
            memory_mb: 64,
            disk_mb: 64,
            log_rate_limit_bytes_per_second: -1,
            start_timeout_ms: 20_000,
            grace_ms: 5_000,
            ..InstanceSpec::default()
        }
    }

    /// Runs an instance; it must not be refused.
    pub async fn run(&self, spec: &InstanceSpec) -> String {
        assert_eq!(self.ask(std::slice::from_ref(spec)).await, []);
        spec.instance_guid.clone()
    }

    /// Asks to run instances; those refused.
    pub async fn ask(&self, specs: &[InstanceSpec]) -> Vec<Refusal> {
        let instances = specs.to_vec();
        let reply = self
            .client()
            .run(RunRequest { instances })
            .await
            .expect("answered");
        reply.into_inner().refused
    }

    pub async fn stop(&self, guid: &str) {
        let instance_guids = vec![guid.to_owned()];
        self.client()
            .stop(StopRequest { instance_guids })
            .await
            .expect("answered");
    }

    pub async fn forget(&self, guid: &str) {
        let instance_guids = vec![guid.to_owned()];
        self.client()
            .forget(ForgetRequest { instance_guids })
            .await
            .expect("answered");
    }

    pub async fn watch(&self) -> Streaming<CellEvent> {
        self.client()
            .watch(WatchRequest {})
            .await
            .expect("watched")
            .into_inner()
    }

    /// What a new watcher is told before `synced`.
    pub async fn snapshot(&self) -> Vec<InstanceStatus> {
        let mut events = self.watch().await;
        let mut held = Vec::new();
        loop {
            match soon(events.message())
                .await
                .expect("a stream")
                .expect("an event")
                .event
            {
                Some(Event::Instance(status)) => held.push(status),
                _ => return held,
            }
        }
    }

    /// Waits until the instance is in `phase`; fails when it ends instead.
    pub async fn until_phase(&self, guid: &str, phase: InstancePhase) -> InstanceStatus {
        self.until_status(guid, |status| status.phase() == phase).await
    }

    /// Waits until the instance's status fulfils `wanted`; fails when it ends without.
    pub async fn until_status(&self, guid: &str, wanted: impl Fn(&InstanceStatus) -> bool) -> InstanceStatus {
        let mut events = self.watch().await;
        loop {
            let event = soon(events.message())
                .await
                .expect("a stream")
                .expect("an event")
                .event;
            let Some(Event::Instance(status)) = event else {
                continue;
            };
            if status.instance_guid != guid {
                continue;
            }
            if wanted(&status) {
                return status;
            }
            assert_ne!(
                status.phase(),
                InstancePhase::Ended,
                "{status:?} {:?}",
                self.texts()
            );
        }
    }

    /// How the instance ended.
    pub async fn end_of(&self, guid: &str) -> wire::v1::Exit {
        let status = self.until_phase(guid, InstancePhase::Ended).await;
        status.exit.expect("an ended instance says how")
    }

    /// Log lines so far, as `SOURCE OUT|ERR text`.
    pub fn texts(&self) -> Vec<String> {
        self.lines().iter().map(text).collect()
    }

    pub fn lines(&self) -> Vec<Envelope> {
        self.lines.lock().expect("no holder of this lock panics").clone()
    }

    /// Waits for a log line that contains `wanted`.
    pub async fn until_logged(&self, wanted: &str) -> Envelope {
        let found = || self.lines().into_iter().find(|line| text(line).contains(wanted));
        until(
            || found().is_some(),
            || format!("no line {wanted:?} in {:#?}", self.texts()),
        )
        .await;
        found().expect("it was there")
    }

    /// Files, mounts, links, rules, control groups and processes of this world.
    fn leftovers(&self) -> Vec<String> {
        let own = self.data_dir().display().to_string();
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("readable");
        let mut left: Vec<String> = mounts
            .lines()
            .filter(|line| line.contains(&own))
            .map(str::to_owned)
            .collect();
        let devices = fs::read_dir("/sys/block").expect("listable").flatten();
        let backing =
            devices.filter_map(|entry| fs::read_to_string(entry.path().join("loop/backing_file")).ok());
        left.extend(backing.filter(|file| file.starts_with(&own)));
        left.extend(output("ip", &["-o", "link"]).filter(|line| line.contains(&format!("slw-{}", self.tag))));
        left.extend(output("nft", &["list", "tables"]).filter(|line| {
            line.contains(&format!("slipway_{} ", self.tag))
                || line.ends_with(&format!("slipway_{}", self.tag))
        }));
        left.extend(output(
            "find",
            &["/sys/fs/cgroup", "-name", &format!("slipway-{}", self.tag)],
        ));
        for entry in fs::read_dir("/proc").expect("listable").flatten() {
            let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).replace('\0', " ");
            if words.contains(&own) && !words.contains("docker-registry") {
                left.push(format!("process {} {words}", entry.path().display()));
            }
        }
        left
    }

    async fn assert_nothing_left(&self) {
        until(
            || self.leftovers().is_empty(),
            || format!("left over: {:#?}", self.leftovers()),
        )
        .await;
    }

    async fn clean(&mut self) {
        if self.daemon.is_none() {
            self.open().await;
        }
        let daemon = self.daemon.take().expect("a daemon");
        let destroyed = daemon.cell.destroy(Duration::ZERO).await;
        daemon.tasks.shutdown(PATIENCE).await;
        self.services.shutdown(PATIENCE).await;
        destroyed.expect("the cell is destroyed");
    }

    fn serve_logs(&self) {
        let store = LogStore(self.lines.clone());
        let incoming = wire::incoming(&self.socket("logs")).expect("a socket");
        let over = self.services.token();
        self.services.spawn_graceful("log store", async move {
            let serve = Server::builder().add_service(LogsServer::new(store));
            serve
                .serve_with_incoming_shutdown(incoming, over.cancelled_owned())
                .await
                .expect("served");
        });
    }
}

/// A daemon in a process of its own.
pub struct Process(Child);

impl Process {
    /// `kill -9`.
    pub fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("waited for");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Names the variable that makes a process of this test a daemon, and says for which world.
pub const DAEMON: &str = "SLIPWAY_TEST_DAEMON";

/// Where a daemon works.
pub struct Place {
    dir: PathBuf,
    tag: String,
    cidr: String,
    registry: String,
    collection: Collection,
}

impl Place {
    /// From the words of [`DAEMON`].
    pub fn parse(text: &str) -> Self {
        let mut words = text.split(' ').map(str::to_owned);
        let mut word = || words.next().expect("four words");
        Self {
            dir: word().into(),
            tag: word(),
            cidr: word(),
            registry: word(),
            collection: Collection::default(),
        }
    }

    fn settings(&self, capacity: Capacity) -> Settings {
        Settings {
            cell_id: "cell-1".to_owned(),
            data_dir: self.dir.join("data"),
            tag: self.tag.clone(),
            container_cidr: self.cidr.parse().expect("a range"),
            capacity,
            disk_quota: DiskQuota::Auto,
            oci_runtime: None,
            collection: self.collection,
            trusted_certificates: vec![TRUSTED.to_owned()],
            image: image::Settings {
                registry: RegistrySettings {
                    insecure: vec![self.registry.clone()],
                    ..RegistrySettings::default()
                },
                max_retries: 1,
                ..image::Settings::default()
            },
            shim_command: vec![env!("CARGO_BIN_EXE_cell-shim").into(), "shim".into()],
            unpack_command: vec![env!("CARGO_BIN_EXE_cell-shim").into(), "unpack".into()],
            clock: Arc::new(SystemClock),
        }
    }

    /// Opens the cell and serves it until killed.
    pub async fn serve(&self) {
        testkit::tls();
        let tasks = Tasks::new();
        let logs = LogSink::start(&tasks, wire::connect(&self.dir.join("logs.sock")));
        let settings = self.settings(Capacity::default());
        let cell = Cell::open(settings, tasks, logs).await.expect("the cell opens");
        let incoming = wire::incoming(&self.dir.join("cell.sock")).expect("a socket");
        let serve = Server::builder().add_service(cell.service());
        serve.serve_with_incoming(incoming).await.expect("served");
    }
}

/// Keeps every line.
struct LogStore(Arc<Mutex<Vec<Envelope>>>);

#[wire::async_trait]
impl Logs for LogStore {
    async fn ingest(
        &self,
        request: Request<Streaming<EnvelopeBatch>>,
    ) -> Result<Response<IngestReply>, Status> {
        let mut batches = request.into_inner();
        while let Some(batch) = batches.message().await? {
            self.0
                .lock()
                .expect("no holder of this lock panics")
                .extend(batch.envelopes);
        }
        Ok(Response::new(IngestReply {}))
    }
}

/// A port or http check with these ports of the spec, asked often.
pub fn check(kind: &str, endpoint: &str) -> HealthCheck {
    HealthCheck {
        kind: kind.to_owned(),
        endpoint: endpoint.to_owned(),
        invocation_timeout_ms: 1000,
        interval_ms: 100,
    }
}

fn text(line: &Envelope) -> String {
    let stream = if line.error { "ERR" } else { "OUT" };
    format!(
        "{} {stream} {}",
        line.source_type,
        String::from_utf8_lossy(&line.payload)
    )
}

fn output(program: &str, args: &[&str]) -> impl Iterator<Item = String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .expect("the program is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// The future's value, or a failure after too long.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// Waits for a condition, with a bound.
pub async fn until(holds: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{}", otherwise());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
