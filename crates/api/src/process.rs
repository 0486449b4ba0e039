//! Processes: how each process type of an app is run, and scaling it.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use model::HealthCheck;
use serde_json::{Value, json};
use store::{Query, Tx, actual_lrp, app, new_guid, process, space};

use crate::app::{STARTED, find as find_app, target};
use crate::body::Body;
use crate::caller::{Caller, Right, within_spaces};
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::list::ListQuery;
use crate::present::{MetadataOf, action, link, time, to_one, write_metadata};
use crate::process_change::{Change, Scale, apply, resize};
use crate::{Settings, State, desired, event, flag, instance};

/// Seconds an instance has to pass its first check when the app sets none.
pub const START_TIMEOUT_SECS: i64 = 60;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v3/processes", list),
        Endpoint::get("/v3/processes/{guid}", show),
        Endpoint::patch("/v3/processes/{guid}", update),
        Endpoint::post("/v3/processes/{guid}/actions/scale", scale),
        Endpoint::get("/v3/processes/{guid}/sidecars", sidecars),
        Endpoint::get("/v3/apps/{guid}/processes", list_of_app),
        Endpoint::get("/v3/apps/{guid}/processes/{kind}", show_of_app),
        Endpoint::patch("/v3/apps/{guid}/processes/{kind}", update_of_app),
        Endpoint::post("/v3/apps/{guid}/processes/{kind}/actions/scale", scale_of_app),
    ]
}

/// A process with the defaults of its type: one `web` instance, none of others.
pub(crate) fn draft(settings: &Settings, app_guid: &str, kind: &str) -> process::Model {
    // The web process has its app's guid, as in the reference; clients rely on it for log sources.
    let guid = if kind == "web" {
        app_guid.to_owned()
    } else {
        new_guid()
    };
    process::Model {
        id: 0,
        guid,
        created_at: 0,
        updated_at: 0,
        app_guid: app_guid.to_owned(),
        kind: kind.to_owned(),
        version: new_guid(),
        command: None,
        run_as: None,
        instances: i64::from(kind == "web"),
        memory_mb: settings.default_memory_mb,
        disk_mb: settings.default_disk_mb,
        log_rate_limit: -1,
        health_type: if kind == "web" { "port" } else { "process" }.to_owned(),
        health_endpoint: None,
        health_timeout: None,
        health_invocation_timeout: None,
        health_interval: None,
        readiness_type: "process".to_owned(),
        readiness_endpoint: None,
        readiness_invocation_timeout: None,
        readiness_interval: None,
    }
}

fn check(
    kind: &str,
    endpoint: Option<&str>,
    invocation_secs: Option<i64>,
    interval_secs: Option<i64>,
) -> wire::v1::HealthCheck {
    let millis = |seconds: Option<i64>, default: Duration| {
        let seconds = seconds
            .and_then(|s| u64::try_from(s).ok())
            .map_or(default, Duration::from_secs);
        u64::try_from(seconds.as_millis()).unwrap_or(u64::MAX)
    };
    wire::v1::HealthCheck {
        kind: kind.to_owned(),
        endpoint: endpoint.unwrap_or("/").to_owned(),
        invocation_timeout_ms: millis(invocation_secs, HealthCheck::INVOCATION_TIMEOUT),
        interval_ms: millis(interval_secs, HealthCheck::INTERVAL),
    }
}

/// The check that decides whether an instance lives.
pub(crate) fn liveness(row: &process::Model) -> wire::v1::HealthCheck {
    check(
        &row.health_type,
        row.health_endpoint.as_deref(),
        row.health_invocation_timeout,
        row.health_interval,
    )
}

/// The check that decides whether an instance is routed to; `None`: always.
pub(crate) fn readiness(row: &process::Model) -> Option<wire::v1::HealthCheck> {
    (row.readiness_type != "process").then(|| {
        let endpoint = row.readiness_endpoint.as_deref();
        check(
            &row.readiness_type,
            endpoint,
            row.readiness_invocation_timeout,
            row.readiness_interval,
        )
    })
}

/// The process, its app and space, if the caller has this right there.
pub async fn find(
    tx: &Tx,
    caller: &Caller,
    guid: &str,
    right: Right,
) -> Result<(process::Model, app::Model, space::Model), ApiError> {
    let row = tx.get::<process::Entity>(guid).await?;
    let app = tx.get::<app::Entity>(&row.app_guid).await?;
    let space = caller.demand(tx, right, &app.space_guid, "Process").await?;
    Ok((row, app, space))
}

/// The process of this type of an app.
pub(crate) async fn of_app(tx: &Tx, app_guid: &str, kind: &str) -> Result<process::Model, ApiError> {
    let query = Query::<process::Entity>::new()
        .eq(process::Column::AppGuid, app_guid)
        .eq(process::Column::Kind, kind);
    tx.one(query).await?.ok_or_else(|| ApiError::not_found("Process"))
}

async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&["types", "app_guids", "space_guids", "organization_guids", "embed"])?;
    let embed = match query.text("embed") {
        None | Some("") => Embed::Nothing,
        Some("process_instances") => Embed::Instances,
        Some(other) => {
            return Err(ApiError::bad_query(format!(
                "Invalid embedded resource: '{other}'. Valid embedded resources are: 'process_instances'"
            )));
        }
    };
    let mut apps = within_spaces(
        Query::<app::Entity>::new(),
        &caller.permissions.visible_spaces(),
        app::Column::SpaceGuid,
    );
    apps = query.filter(apps, "space_guids", app::Column::SpaceGuid);
    if let Some(orgs) = query.csv("organization_guids") {
        let spaces = Query::<space::Entity>::new().any_of(space::Column::OrgGuid, orgs);
        apps = apps.within(app::Column::SpaceGuid, space::Column::Guid, spaces);
    }
    let mut rows = Query::<process::Entity>::new().within(process::Column::AppGuid, app::Column::Guid, apps);
    rows = query.filter(rows, "types", process::Column::Kind);
    rows = query.filter(rows, "app_guids", process::Column::AppGuid);
    page(&state, &query, rows, embed).await
}

async fn list_of_app(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&["types", "embed"])?;
    let tx = state.store.read().await?;
    find_app(&tx, &caller, &guid, Right::Read).await?;
    let rows = Query::<process::Entity>::new().eq(process::Column::AppGuid, &guid);
    page(
        &state,
        &query,
        query.filter(rows, "types", process::Column::Kind),
        Embed::Nothing,
    )
    .await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Embed {
    Nothing,
    Instances,
}

async fn page(
    state: &State,
    query: &ListQuery,
    rows: Query<process::Entity>,
    embed: Embed,
) -> Result<Json<Value>, ApiError> {
    let rows = query.common(rows, &[])?;
    let page = query.page()?;
    let tx = state.store.read().await?;
    let (rows, total) = tx.page(rows, page).await?;
    let metadata = MetadataOf::read(&tx, rows.iter().map(|row| row.guid.as_str())).await?;
    let mut resources = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut resource = present(state, row, &metadata);
        if row.command.is_some() {
            // Lists go to auditors too; commands may hold secrets.
            resource["command"] = "[PRIVATE DATA HIDDEN IN LISTS]".into();
        }
        if embed == Embed::Instances {
            resource["process_instances"] = instance::embedded(state, &tx, row).await?;
        }
        resources.push(resource);
    }
    Ok(Json(query.envelope(
        &state.settings.api_url,
        page,
        total,
        resources,
    )))
}

async fn show(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.read().await?;
    let (row, app, _) = find(&tx, &caller, &guid, Right::Read).await?;
    present_one(&state, &tx, &caller, &row, &app).await.map(Json)
}

async fn show_of_app(
    Extract(state): Extract<State>,
    caller: Caller,
    Path((guid, kind)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.read().await?;
    let (app, _) = find_app(&tx, &caller, &guid, Right::Read).await?;
    let row = of_app(&tx, &guid, &kind).await?;
    present_one(&state, &tx, &caller, &row, &app).await.map(Json)
}

async fn sidecars(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.read().await?;
    find(&tx, &caller, &guid, Right::Read).await?;
    let page = query.page()?;
    Ok(Json(query.envelope(&state.settings.api_url, page, 0, Vec::new())))
}

async fn update(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    Body(change): Body<Change>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.write().await?;
    let found = find(&tx, &caller, &guid, Right::Write).await?;
    change_row(&state, tx, &caller, found, change).await
}

async fn update_of_app(
    Extract(state): Extract<State>,
    caller: Caller,
    Path((guid, kind)): Path<(String, String)>,
    Body(change): Body<Change>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.write().await?;
    let (app, space) = find_app(&tx, &caller, &guid, Right::Write).await?;
    let row = of_app(&tx, &guid, &kind).await?;
    change_row(&state, tx, &caller, (row, app, space), change).await
}

async fn change_row(
    state: &State,
    tx: Tx,
    caller: &Caller,
    (mut row, app, space): (process::Model, app::Model, space::Model),
    mut change: Change,
) -> Result<Json<Value>, ApiError> {
    let metadata = change.metadata.take();
    apply(&mut row, change).map_err(ApiError::unprocessable_all)?;
    let row = tx.update::<process::Entity>(row).await?;
    write_metadata(&tx, &row.guid, metadata.as_ref()).await?;
    let data = json!({"process_guid": row.guid, "process_type": row.kind});
    event::record(
        &tx,
        caller,
        "audit.app.process.update",
        target(&app, &space),
        data,
    )
    .await?;
    let shown = present_one(state, &tx, caller, &row, &app).await?;
    tx.commit().await?;
    Ok(Json(shown))
}

async fn scale(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    Body(scale): Body<Scale>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let tx = state.store.write().await?;
    let found = find(&tx, &caller, &guid, Right::ManageApps).await?;
    scale_row(&state, tx, &caller, found, scale).await
}

async fn scale_of_app(
    Extract(state): Extract<State>,
    caller: Caller,
    Path((guid, kind)): Path<(String, String)>,
    Body(scale): Body<Scale>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let tx = state.store.write().await?;
    let (app, space) = find_app(&tx, &caller, &guid, Right::ManageApps).await?;
    let row = of_app(&tx, &guid, &kind).await?;
    scale_row(&state, tx, &caller, (row, app, space), scale).await
}

async fn scale_row(
    state: &State,
    tx: Tx,
    caller: &Caller,
    (mut row, app, space): (process::Model, app::Model, space::Model),
    scale: Scale,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    if !caller.identity.is_admin() {
        flag::demand(&tx, "app_scaling").await?;
    }
    let had = row.instances;
    resize(&state.settings, &mut row, &scale).map_err(ApiError::unprocessable_all)?;
    if had == 0 && row.instances > 0 && app.state == STARTED {
        desired::demand_user(state, &tx, &app, &row).await?;
    }
    let row = tx.update::<process::Entity>(row).await?;
    let data = json!({
        "process_guid": row.guid, "process_type": row.kind,
        "request": {"instances": scale.instances, "memory_in_mb": scale.memory_in_mb, "disk_in_mb": scale.disk_in_mb},
    });
    event::record(&tx, caller, "audit.app.process.scale", target(&app, &space), data).await?;
    let shown = present_one(state, &tx, caller, &row, &app).await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(shown)))
}

/// The process as shown alone: the command only for those who may see secrets.
async fn present_one(
    state: &State,
    tx: &Tx,
    caller: &Caller,
    row: &process::Model,
    app: &app::Model,
) -> Result<Value, ApiError> {
    let metadata = MetadataOf::read(tx, [row.guid.as_str()]).await?;
    let mut resource = present(state, row, &metadata);
    if caller
        .demand(tx, Right::ReadSecrets, &app.space_guid, "Process")
        .await
        .is_err()
    {
        resource["command"] = "[PRIVATE DATA HIDDEN]".into();
    } else if row.command.is_none()
        && let Some(droplet) = &app.droplet_guid
    {
        let droplet = tx.get::<store::droplet::Entity>(droplet).await?;
        let types: Value = serde_json::from_str(&droplet.process_types).unwrap_or_default();
        resource["command"] = types.get(&row.kind).cloned().unwrap_or(Value::Null);
    }
    Ok(resource)
}

fn present(state: &State, row: &process::Model, metadata: &MetadataOf) -> Value {
    let origin = &state.settings.api_url;
    let path = format!("/v3/processes/{}", row.guid);
    json!({
        "guid": row.guid, "created_at": time(row.created_at), "updated_at": time(row.updated_at),
        "type": row.kind, "version": row.version, "command": row.command, "user": row.run_as,
        "instances": row.instances, "memory_in_mb": row.memory_mb, "disk_in_mb": row.disk_mb,
        "log_rate_limit_in_bytes_per_second": row.log_rate_limit,
        "health_check": {"type": row.health_type, "data": {
            "timeout": row.health_timeout, "invocation_timeout": row.health_invocation_timeout,
            "interval": row.health_interval, "endpoint": row.health_endpoint,
        }},
        "readiness_health_check": {"type": row.readiness_type, "data": {
            "invocation_timeout": row.readiness_invocation_timeout, "interval": row.readiness_interval,
            "endpoint": row.readiness_endpoint,
        }},
        "relationships": {"app": to_one(Some(&row.app_guid)), "revision": null},
        "metadata": metadata.of(&row.guid),
        "links": {
            "self": link(origin, &path),
            "scale": action(origin, &format!("{path}/actions/scale"), "POST"),
            "app": link(origin, &format!("/v3/apps/{}", row.app_guid)),
            "stats": link(origin, &format!("{path}/stats")),
        },
    })
}

/// Instances of one process that belong to its present version.
pub(crate) async fn actuals(tx: &Tx, process: &process::Model) -> Result<Vec<actual_lrp::Model>, ApiError> {
    let query = Query::<actual_lrp::Entity>::new()
        .eq(actual_lrp::Column::ProcessGuid, &process.guid)
        .eq(actual_lrp::Column::ProcessVersion, &process.version);
    Ok(tx.all(query).await?)
}
