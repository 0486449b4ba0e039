//! Destinations: which apps a route leads to.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Query, StoreError, Tx, app, destination, droplet, new_guid, route};

use crate::State;
use crate::app::find as find_app;
use crate::body::Body;
use crate::caller::{Caller, Right};
use crate::desired::DEFAULT_PORT;
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::event;
use crate::list::ListQuery;
use crate::present::{link, time};
use crate::route::find as find_route;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v3/routes/{guid}/destinations", list),
        Endpoint::post("/v3/routes/{guid}/destinations", add),
        Endpoint::patch("/v3/routes/{guid}/destinations", replace),
        Endpoint::patch("/v3/routes/{guid}/destinations/{destination}", update),
        Endpoint::delete("/v3/routes/{guid}/destinations/{destination}", delete),
    ]
}

async fn of_route(tx: &Tx, guid: &str) -> Result<Vec<destination::Model>, StoreError> {
    tx.all(Query::<destination::Entity>::new().eq(destination::Column::RouteGuid, guid))
        .await
}

async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&["app_guids"])?;
    let tx = state.store.read().await?;
    find_route(&tx, &caller, &guid, Right::ReadRoutes).await?;
    let mut rows = Query::<destination::Entity>::new().eq(destination::Column::RouteGuid, &guid);
    rows = query.filter(rows, "app_guids", destination::Column::AppGuid);
    rows = query.filter(rows, "guids", destination::Column::Guid);
    let rows = tx.all(rows).await?;
    present_list(&state, &tx, &guid, &rows).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Destinations {
    destinations: Vec<Wanted>,
}

/// One destination of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    app: WantedApp,
    port: Option<i64>,
    protocol: Option<String>,
    #[serde(default)]
    weight: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedApp {
    guid: String,
    process: Option<WantedProcess>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedProcess {
    #[serde(rename = "type")]
    kind: String,
}

/// Where a route is to lead.
pub(crate) struct Draft<'a> {
    /// App.
    pub app_guid: &'a str,
    /// Process type, `web`.
    pub process_type: &'a str,
    /// `None`: the app's own first port.
    pub port: Option<i64>,
    /// `http1` or `http2`.
    pub protocol: &'a str,
}

/// Adds a destination unless the route has it already.
pub(crate) async fn map(tx: &Tx, route: &route::Model, draft: Draft<'_>) -> Result<(), ApiError> {
    if draft.port.is_some_and(|port| !(1..=65535).contains(&port)) {
        return Err(ApiError::unprocessable(
            "Destinations[0]: port must be an integer between 1 and 65535 inclusive.",
        ));
    }
    if !["http1", "http2"].contains(&draft.protocol) {
        return Err(ApiError::unprocessable(
            "Destinations[0]: protocol must be 'http1' or 'http2' for an HTTP route.",
        ));
    }
    let same = |d: &destination::Model| {
        d.app_guid == draft.app_guid && d.process_type == draft.process_type && d.port == draft.port
    };
    if let Some(known) = of_route(tx, &route.guid).await?.into_iter().find(same) {
        if known.protocol != draft.protocol {
            let protocol = draft.protocol.to_owned();
            tx.update::<destination::Entity>(destination::Model { protocol, ..known })
                .await?;
        }
        return Ok(());
    }
    let row = destination::Model {
        id: 0,
        guid: new_guid(),
        created_at: 0,
        updated_at: 0,
        route_guid: route.guid.clone(),
        app_guid: draft.app_guid.to_owned(),
        process_type: draft.process_type.to_owned(),
        port: draft.port,
        protocol: draft.protocol.to_owned(),
    };
    tx.insert::<destination::Entity>(row).await?;
    Ok(())
}

async fn add(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    Body(body): Body<Destinations>,
) -> Result<Json<Value>, ApiError> {
    change(&state, &caller, &guid, &body.destinations, Change::Add).await
}

async fn replace(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    Body(body): Body<Destinations>,
) -> Result<Json<Value>, ApiError> {
    change(&state, &caller, &guid, &body.destinations, Change::Replace).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Add,
    Replace,
}

async fn change(
    state: &State,
    caller: &Caller,
    guid: &str,
    wanted: &[Wanted],
    how: Change,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.write().await?;
    let (route, space) = find_route(&tx, caller, guid, Right::Write).await?;
    if how == Change::Replace {
        tx.delete_where(Query::<destination::Entity>::new().eq(destination::Column::RouteGuid, guid))
            .await?;
    }
    for (at, one) in wanted.iter().enumerate() {
        if one.weight.is_some() {
            return Err(ApiError::unprocessable(format!(
                "Destinations[{at}]: weighted destinations are not supported."
            )));
        }
        let invalid = || {
            ApiError::unprocessable(format!(
                "App(s) with guid(s) \"{}\" do not exist or you do not have access.",
                one.app.guid
            ))
        };
        let (app, _) = match find_app(&tx, caller, &one.app.guid, Right::Write).await {
            Err(error) if error.status() == StatusCode::NOT_FOUND => return Err(invalid()),
            other => other?,
        };
        if app.space_guid != space.guid {
            return Err(ApiError::unprocessable(
                "Routes cannot be mapped to destinations in different spaces.",
            ));
        }
        let draft = Draft {
            app_guid: &app.guid,
            process_type: one.app.process.as_ref().map_or("web", |process| &process.kind),
            port: one.port,
            protocol: one.protocol.as_deref().unwrap_or("http1"),
        };
        map(&tx, &route, draft).await?;
        let data = json!({"route_guid": guid, "app_port": one.port});
        event::record(
            &tx,
            caller,
            "audit.app.map-route",
            crate::app::target(&app, &space),
            data,
        )
        .await?;
    }
    let rows = of_route(&tx, guid).await?;
    let shown = present_list(state, &tx, guid, &rows).await?;
    tx.commit().await?;
    Ok(shown)
}

async fn one(tx: &Tx, route: &str, guid: &str) -> Result<destination::Model, ApiError> {
    let missing = || {
        ApiError::unprocessable(
            "Unable to unmap route from destination. Ensure the route has a destination with this guid.",
        )
    };
    tx.find::<destination::Entity>(guid)
        .await?
        .filter(|row| row.route_guid == route)
        .ok_or_else(missing)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    #[serde(default, deserialize_with = "crate::body::some")]
    protocol: Option<Option<String>>,
}

async fn update(
    Extract(state): Extract<State>,
    caller: Caller,
    Path((guid, destination)): Path<(String, String)>,
    Body(body): Body<Update>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.write().await?;
    find_route(&tx, &caller, &guid, Right::Write).await?;
    let row = one(&tx, &guid, &destination).await?;
    let protocol = body.protocol.flatten().unwrap_or_else(|| "http1".to_owned());
    if !["http1", "http2"].contains(&protocol.as_str()) {
        return Err(ApiError::unprocessable(
            "Destination protocol must be 'http1' or 'http2' for an HTTP route.",
        ));
    }
    let row = tx
        .update::<destination::Entity>(destination::Model { protocol, ..row })
        .await?;
    let ports = default_ports(&tx, std::slice::from_ref(&row)).await?;
    tx.commit().await?;
    Ok(Json(present(&row, &ports)))
}

async fn delete(
    Extract(state): Extract<State>,
    caller: Caller,
    Path((guid, destination)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let tx = state.store.write().await?;
    let (_, space) = find_route(&tx, &caller, &guid, Right::Write).await?;
    let row = one(&tx, &guid, &destination).await?;
    tx.delete::<destination::Entity>(&row.guid).await?;
    let app = tx.get::<app::Entity>(&row.app_guid).await?;
    let data = json!({"route_guid": guid});
    event::record(
        &tx,
        &caller,
        "audit.app.unmap-route",
        crate::app::target(&app, &space),
        data,
    )
    .await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The port each app's image exposes first, by app guid.
pub(crate) async fn default_ports(
    tx: &Tx,
    rows: &[destination::Model],
) -> Result<HashMap<String, u16>, ApiError> {
    let apps = Query::<app::Entity>::new().any_of(app::Column::Guid, rows.iter().map(|row| &row.app_guid));
    let mut ports = HashMap::new();
    for app in tx.all(apps).await? {
        let Some(guid) = app.droplet_guid else { continue };
        let config = tx
            .get::<droplet::Entity>(&guid)
            .await?
            .read_config()
            .map_err(|error| ApiError::internal(&error))?;
        if let Some(first) = config.tcp_ports().first() {
            ports.insert(app.guid, *first);
        }
    }
    Ok(ports)
}

/// One destination.
pub(crate) fn present(row: &destination::Model, default_ports: &HashMap<String, u16>) -> Value {
    let default = default_ports.get(&row.app_guid).copied().unwrap_or(DEFAULT_PORT);
    json!({
        "guid": row.guid, "created_at": time(row.created_at), "updated_at": time(row.updated_at),
        "app": {"guid": row.app_guid, "process": {"type": row.process_type}},
        "weight": null, "port": row.port.unwrap_or_else(|| i64::from(default)), "protocol": row.protocol,
    })
}

async fn present_list(
    state: &State,
    tx: &Tx,
    route_guid: &str,
    rows: &[destination::Model],
) -> Result<Json<Value>, ApiError> {
    let ports = default_ports(tx, rows).await?;
    let origin = &state.settings.api_url;
    Ok(Json(json!({
        "destinations": rows.iter().map(|row| present(row, &ports)).collect::<Vec<_>>(),
        "links": {
            "self": link(origin, &format!("/v3/routes/{route_guid}/destinations")),
            "route": link(origin, &format!("/v3/routes/{route_guid}")),
        },
    })))
}
