//! Instances of a process, as the API shows them: stats rows, one for each wanted index, from the first moment on.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State as Extract};
use base::unix_nanos;
use model::LrpState;
use serde_json::{Value, json};
use store::{Tx, actual_lrp, desired_lrp, process};
use wire::v1::{InstanceUsage, StatsRequest};

use crate::app::find as find_app;
use crate::caller::{Caller, Right};
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::present::time;
use crate::process::{actuals, find, of_app};
use crate::{State, flag};

/// How long a look at starting instances may be held for news. The command line looks every 3 s, so an answer that
/// waits for the outcome saves a whole turn.
const HOLD: Duration = Duration::from_secs(2);
/// The same where some instances run already and others are about to.
const SHORT_HOLD: Duration = Duration::from_secs(1);
/// How long the cell may take to tell usage.
const STATS_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v3/processes/{guid}/stats", stats),
        Endpoint::get("/v3/processes/{guid}/process_instances", list),
        Endpoint::get("/v3/apps/{guid}/processes/{kind}/stats", stats_of_app),
    ]
}

/// What is wanted and what is there, for one process.
struct View {
    process: process::Model,
    wanted: Wanted,
    actuals: HashMap<i64, actual_lrp::Model>,
}

enum Wanted {
    /// The app is stopped.
    No,
    /// The app is started.
    Yes,
    /// The app is started, but a feature flag that is off keeps it down.
    Disabled(String),
}

impl View {
    async fn read(tx: &Tx, process: process::Model) -> Result<Self, ApiError> {
        let wanted = match tx.find::<desired_lrp::Entity>(&process.version).await? {
            None => Wanted::No,
            Some(desired) if desired.lifecycle == crate::app::DOCKER => {
                match flag::disabled_message(tx, "diego_docker").await? {
                    Some(message) => Wanted::Disabled(format!("Feature Disabled: {message}")),
                    None => Wanted::Yes,
                }
            }
            Some(_) => Wanted::Yes,
        };
        let mut by_index: HashMap<i64, actual_lrp::Model> = HashMap::new();
        for actual in actuals(tx, &process).await? {
            // Of two rows of one index the newer tells.
            match by_index.get(&actual.instance_index) {
                Some(other) if other.since_ns >= actual.since_ns => {}
                _ => _ = by_index.insert(actual.instance_index, actual),
            }
        }
        Ok(Self {
            process,
            wanted,
            actuals: by_index,
        })
    }

    fn indices(&self) -> std::ops::Range<i64> {
        0..self.process.instances
    }

    fn state(&self, index: i64) -> &'static str {
        let Wanted::Yes = self.wanted else { return "DOWN" };
        let Some(actual) = self.actuals.get(&index) else {
            return "STARTING";
        };
        match actual.state.parse::<LrpState>() {
            Ok(LrpState::Running) => "RUNNING",
            Ok(LrpState::Claimed) => "STARTING",
            Ok(LrpState::Unclaimed) if actual.placement_error.is_none() => "STARTING",
            Ok(LrpState::Crashed) => "CRASHED",
            Ok(LrpState::Unclaimed) | Err(_) => "DOWN",
        }
    }

    fn details(&self, index: i64) -> Option<&str> {
        match &self.wanted {
            Wanted::Disabled(message) => Some(message),
            _ => self.actuals.get(&index)?.placement_error.as_deref(),
        }
    }

    /// How long a client that waits for the start gains from waiting here: not at all once nothing changes by itself,
    /// and less once it would be content with what runs.
    fn worth_waiting(&self) -> Duration {
        let states: Vec<_> = self.indices().map(|index| self.state(index)).collect();
        let changing = matches!(self.wanted, Wanted::Yes)
            && states.contains(&"STARTING")
            && self.indices().all(|index| self.details(index).is_none());
        match (changing, states.contains(&"RUNNING")) {
            (true, false) => HOLD,
            (true, true) => SHORT_HOLD,
            (false, _) => Duration::ZERO,
        }
    }
}

async fn stats(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (process, _, _) = find(&state.store.read().await?, &caller, &guid, Right::Read).await?;
    rows(&state, process).await
}

async fn stats_of_app(
    Extract(state): Extract<State>,
    caller: Caller,
    Path((guid, kind)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.read().await?;
    find_app(&tx, &caller, &guid, Right::Read).await?;
    let process = of_app(&tx, &guid, &kind).await?;
    drop(tx);
    rows(&state, process).await
}

async fn rows(state: &State, process: process::Model) -> Result<Json<Value>, ApiError> {
    let view = settled(state, process).await?;
    let usage = usage(state, &view).await;
    let now = unix_nanos(state.store.clock().now());
    let resources: Vec<Value> = view
        .indices()
        .map(|index| row(&view, index, &usage, now))
        .collect();
    Ok(Json(json!({"resources": resources})))
}

/// The view once it says something a waiting client can act on, or after [`HOLD`].
async fn settled(state: &State, process: process::Model) -> Result<View, ApiError> {
    let mut feed = state.store.feed();
    let begun = tokio::time::Instant::now();
    loop {
        feed.mark_unchanged();
        let tx = state.store.read().await?;
        let process = tx.get::<process::Entity>(&process.guid).await?;
        let view = View::read(&tx, process).await?;
        drop(tx);
        let deadline = begun + view.worth_waiting();
        let over = tokio::time::Instant::now() >= deadline;
        if over || tokio::time::timeout_at(deadline, feed.changed()).await.is_err() {
            return Ok(view);
        }
    }
}

async fn usage(state: &State, view: &View) -> HashMap<String, InstanceUsage> {
    let running = |actual: &&actual_lrp::Model| actual.state == LrpState::Running.as_str();
    let instance_guids: Vec<String> = view
        .actuals
        .values()
        .filter(running)
        .map(|a| a.guid.clone())
        .collect();
    if instance_guids.is_empty() {
        return HashMap::new();
    }
    let mut cell = state.cell.clone();
    let asked = tokio::time::timeout(STATS_TIMEOUT, cell.stats(StatsRequest { instance_guids })).await;
    match asked {
        Ok(Ok(reply)) => reply
            .into_inner()
            .usage
            .into_iter()
            .map(|u| (u.instance_guid.clone(), u))
            .collect(),
        // Figures are a courtesy: without them the rows still tell the states.
        Ok(Err(_)) | Err(_) => HashMap::new(),
    }
}

fn row(view: &View, index: i64, usage: &HashMap<String, InstanceUsage>, now_ns: i64) -> Value {
    let process = &view.process;
    let state = view.state(index);
    let actual = view
        .actuals
        .get(&index)
        .filter(|_| matches!(view.wanted, Wanted::Yes));
    let Some(actual) = actual.filter(|_| state != "DOWN") else {
        return json!({
            "type": process.kind, "index": index, "state": state, "routable": null, "uptime": 0,
            "isolation_segment": null, "details": view.details(index),
        });
    };
    let ports: Vec<u16> = serde_json::from_str(&actual.ports).unwrap_or_default();
    let ports: Vec<Value> = ports
        .iter()
        .map(|p| json!({"external": p, "internal": p, "external_tls_proxy_port": null, "internal_tls_proxy_port": null}))
        .collect();
    json!({
        "type": process.kind, "index": index, "instance_guid": actual.guid, "state": state,
        "routable": (state == "RUNNING").then_some(actual.ready),
        "host": actual.address, "instance_internal_ip": actual.address, "instance_ports": ports,
        "uptime": (now_ns.saturating_sub(actual.since_ns) / 1_000_000_000).max(0),
        "mem_quota": process.memory_mb << 20, "disk_quota": process.disk_mb << 20,
        "log_rate_limit": process.log_rate_limit, "fds_quota": model::Limits::NOFILE,
        "isolation_segment": null, "details": view.details(index),
        "usage": usage.get(&actual.guid).map_or(json!({}), figures),
    })
}

fn figures(usage: &InstanceUsage) -> Value {
    json!({
        "time": time(usage.time_ns / 1000), "cpu": usage.cpu, "cpu_entitlement": usage.cpu_entitlement,
        "mem": usage.memory_bytes, "disk": usage.disk_bytes, "log_rate": usage.log_rate,
    })
}

async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.read().await?;
    let (process, _, _) = find(&tx, &caller, &guid, Right::Read).await?;
    Ok(Json(json!({"resources": embedded(&state, &tx, &process).await?})))
}

/// `process_instances` of a process: index, state, and `since`, the seconds it has been so.
pub(crate) async fn embedded(state: &State, tx: &Tx, process: &process::Model) -> Result<Value, ApiError> {
    let view = View::read(tx, process.clone()).await?;
    let now = unix_nanos(state.store.clock().now());
    let since = |index: i64| {
        view.actuals
            .get(&index)
            .map_or(0, |actual| (now - actual.since_ns).max(0) / 1_000_000_000)
    };
    Ok(view
        .indices()
        .map(|index| json!({"index": index, "state": view.state(index), "since": since(index)}))
        .collect())
}
