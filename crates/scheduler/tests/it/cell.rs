//! A cell that keeps instances in memory and ends or runs them when the test says so.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, watch};
use wire::v1::cell_event::Event;
use wire::v1::cell_server::{Cell, CellServer};
use wire::v1::{
    CellDescription, CellEvent, ConfigureReply, ConfigureRequest, DescribeRequest, Exit, ForgetReply,
    ForgetRequest, ImagesReply, ImagesRequest, InstancePhase, InstanceSpec, InstanceStatus, Refusal,
    RunReply, RunRequest, StatsReply, StatsRequest, StopReply, StopRequest, Synced, WatchRequest,
};
use wire::{Request, Response, Status};

use crate::fixture::PATIENCE;

/// A serving cell on a runtime of its own: when that goes, its connections break as those of a killed process do.
pub struct Served(Option<Runtime>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.take().unwrap().shutdown_background();
    }
}

/// What the cell holds and was told; outlives its server, as a ledger does.
#[derive(Clone)]
pub struct FakeCell(Arc<Inner>);

struct Inner {
    id: &'static str,
    state: Mutex<State>,
    events: broadcast::Sender<InstanceStatus>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    held: BTreeMap<String, (InstanceSpec, InstanceStatus)>,
    stopped: Vec<String>,
    forgotten: HashSet<String>,
    runs: Vec<InstanceSpec>,
    configured: Vec<ConfigureRequest>,
    refuse: Option<String>,
    obedient: bool,
    eager: bool,
}

impl FakeCell {
    pub fn new(id: &'static str) -> Self {
        Self(Arc::new(Inner {
            id,
            state: Mutex::new(State {
                obedient: true,
                ..State::default()
            }),
            events: broadcast::channel(1024).0,
            changes: watch::Sender::new(0),
        }))
    }

    /// Serves on the socket until the value returned is dropped.
    pub fn serve(&self, socket: &Path) -> Served {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let guard = runtime.enter();
        let incoming = wire::incoming(socket).unwrap();
        drop(guard);
        let server = wire::Server::builder().add_service(CellServer::new(self.clone()));
        runtime.spawn(async move { server.serve_with_incoming(incoming).await.unwrap() });
        Served(Some(runtime))
    }

    /// From now on new instances are refused with this reason, or taken again.
    pub fn refuse(&self, reason: Option<&str>) {
        self.change(|state| state.refuse = reason.map(str::to_owned));
    }

    /// Whether a stop ends an instance at once.
    pub fn set_obedient(&self, obedient: bool) {
        self.change(|state| state.obedient = obedient);
    }

    /// Whether an instance runs as soon as it is given.
    pub fn set_eager(&self) {
        self.change(|state| state.eager = true);
        self.run_all();
    }

    /// Makes every instance that starts run.
    pub fn run_all(&self) {
        for guid in self.in_phase(InstancePhase::Starting) {
            self.run(&guid);
        }
    }

    pub fn run(&self, guid: &str) {
        self.say(guid, |status| {
            status.set_phase(InstancePhase::Running);
            status.ready = true;
        });
    }

    pub fn set_ready(&self, guid: &str, ready: bool) {
        self.say(guid, |status| status.ready = ready);
    }

    pub fn end(&self, guid: &str, exit: Exit) {
        self.say(guid, |status| {
            status.set_phase(InstancePhase::Ended);
            status.exit = Some(exit);
        });
    }

    pub fn crash(&self, guid: &str) {
        let exit = Exit {
            crashed: true,
            description: "APP/PROC/WEB: Exited with status 1".to_owned(),
            status: 1,
            last_lines: vec!["boom".to_owned()],
            ..Exit::default()
        };
        self.end(guid, exit);
    }

    /// Loses an instance without a word.
    pub fn lose(&self, guid: &str) {
        self.change(|state| _ = state.held.remove(guid));
    }

    /// Has an instance nobody asked for.
    pub fn invent(&self, guid: &str) {
        let spec = InstanceSpec {
            instance_guid: guid.to_owned(),
            ..InstanceSpec::default()
        };
        self.change(|state| {
            hold(state, spec);
            // Long ago: a container nobody knows is stopped only after a grace.
            state.held.get_mut(guid).unwrap().1.since_ns = 1;
        });
    }

    pub fn in_phase(&self, phase: InstancePhase) -> Vec<String> {
        let state = self.0.state.lock().unwrap();
        let held = state
            .held
            .iter()
            .filter(|(_, (_, status))| status.phase() == phase);
        held.map(|(guid, _)| guid.clone()).collect()
    }

    pub fn specs(&self) -> Vec<InstanceSpec> {
        let state = self.0.state.lock().unwrap();
        state.held.values().map(|(spec, _)| spec.clone()).collect()
    }

    pub fn runs(&self) -> usize {
        self.0.state.lock().unwrap().runs.len()
    }

    pub fn stopped(&self) -> Vec<String> {
        self.0.state.lock().unwrap().stopped.clone()
    }

    /// The deny rules it was told, one list for each time.
    pub fn told_to_deny(&self) -> Vec<Vec<String>> {
        let state = self.0.state.lock().unwrap();
        let rules = |told: &ConfigureRequest| {
            let settings: model::RegistrySettings = serde_json::from_str(&told.registry_settings).unwrap();
            settings.deny
        };
        state.configured.iter().map(rules).collect()
    }

    pub fn has_forgotten(&self, guid: &str) -> bool {
        self.0.state.lock().unwrap().forgotten.contains(guid)
    }

    /// Waits until the cell is as the test wants it.
    pub async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let mut changes = self.0.changes.subscribe();
        let wait = async {
            while !is(self) {
                changes.changed().await.unwrap();
            }
        };
        assert!(
            tokio::time::timeout(PATIENCE, wait).await.is_ok(),
            "the cell never {what}"
        );
    }

    fn say(&self, guid: &str, change: impl FnOnce(&mut InstanceStatus)) {
        self.change(|state| {
            let (_, status) = state.held.get_mut(guid).unwrap();
            change(status);
            status.since_ns = now_ns();
            let _ = self.0.events.send(status.clone());
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.state.lock().unwrap());
        self.0.changes.send_modify(|revision| *revision += 1);
    }
}

fn now_ns() -> i64 {
    base::unix_nanos(base::Clock::now(&base::SystemClock))
}

fn hold(state: &mut State, spec: InstanceSpec) {
    let phase = if state.eager {
        InstancePhase::Running
    } else {
        InstancePhase::Starting
    };
    let status = InstanceStatus {
        ready: state.eager,
        instance_guid: spec.instance_guid.clone(),
        process_guid: spec.process_guid.clone(),
        process_version: spec.process_version.clone(),
        index: spec.index,
        phase: phase.into(),
        address: format!("10.200.0.{}", state.runs.len() + 2),
        ports: spec.ports.clone(),
        since_ns: now_ns(),
        ..InstanceStatus::default()
    };
    state.held.insert(spec.instance_guid.clone(), (spec, status));
}

#[wire::async_trait]
impl Cell for FakeCell {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<CellEvent, Status>> + Send>>;

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<CellDescription>, Status> {
        Ok(Response::new(CellDescription {
            cell_id: self.0.id.to_owned(),
            memory_mb: 1000,
            disk_mb: 10_000,
            containers: 10,
            architecture: "amd64".to_owned(),
            ..CellDescription::default()
        }))
    }

    async fn run(&self, request: Request<RunRequest>) -> Result<Response<RunReply>, Status> {
        let mut refused = Vec::new();
        self.change(|state| {
            for spec in request.into_inner().instances {
                if let Some(reason) = &state.refuse {
                    refused.push(Refusal {
                        instance_guid: spec.instance_guid,
                        reason: reason.clone(),
                    });
                } else if !state.held.contains_key(&spec.instance_guid) {
                    state.runs.push(spec.clone());
                    let guid = spec.instance_guid.clone();
                    hold(state, spec);
                    let _ = self.0.events.send(state.held[&guid].1.clone());
                }
            }
        });
        Ok(Response::new(RunReply { refused }))
    }

    async fn stop(&self, request: Request<StopRequest>) -> Result<Response<StopReply>, Status> {
        self.change(|state| {
            for guid in request.into_inner().instance_guids {
                if let Some((_, status)) = state.held.get_mut(&guid) {
                    let end = state.obedient;
                    status.set_phase(if end {
                        InstancePhase::Ended
                    } else {
                        InstancePhase::Stopping
                    });
                    status.exit = end.then(Exit::default);
                    let _ = self.0.events.send(status.clone());
                }
                state.stopped.push(guid);
            }
        });
        Ok(Response::new(StopReply {}))
    }

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let event = |status| CellEvent {
            event: Some(Event::Instance(status)),
        };
        let (held, changes) = {
            let state = self.0.state.lock().unwrap();
            let held: Vec<_> = state.held.values().map(|(_, status)| status.clone()).collect();
            (held, self.0.events.subscribe())
        };
        let synced = CellEvent {
            event: Some(Event::Synced(Synced {})),
        };
        let first = held.into_iter().map(event).chain([synced]).map(Ok);
        let rest = stream::unfold(changes, move |mut changes| async move {
            Some((Ok(event(changes.recv().await.ok()?)), changes))
        });
        Ok(Response::new(Box::pin(stream::iter(first).chain(rest))))
    }

    async fn forget(&self, request: Request<ForgetRequest>) -> Result<Response<ForgetReply>, Status> {
        self.change(|state| {
            for guid in request.into_inner().instance_guids {
                state.held.remove(&guid);
                state.forgotten.insert(guid);
            }
        });
        Ok(Response::new(ForgetReply {}))
    }

    async fn stats(&self, _: Request<StatsRequest>) -> Result<Response<StatsReply>, Status> {
        Ok(Response::new(StatsReply::default()))
    }

    async fn configure(
        &self,
        request: Request<ConfigureRequest>,
    ) -> Result<Response<ConfigureReply>, Status> {
        self.change(|state| state.configured.push(request.into_inner()));
        Ok(Response::new(ConfigureReply {}))
    }

    async fn images(&self, _: Request<ImagesRequest>) -> Result<Response<ImagesReply>, Status> {
        Ok(Response::new(ImagesReply::default()))
    }
}

/// A short time, for "does not happen" checks that a fault would fail much sooner.
pub const A_WHILE: Duration = Duration::from_millis(300);
