//! The manifest of an app as it is.

use axum::extract::{Path, State as Extract};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use store::{Direction, Query, Tx, app, destination, domain, package, process, route};

use crate::app::{DOCKER, find};
use crate::caller::{Caller, Right};
use crate::error::ApiError;
use crate::present::MetadataOf;
use crate::{State, env};

pub(super) async fn show(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Response, ApiError> {
    let tx = state.store.read().await?;
    let (app, _) = find(&tx, &caller, &guid, Right::ReadSecrets).await?;
    let manifest = json!({"applications": [section(&state, &tx, &app).await?]});
    let yaml = serde_saphyr::to_string(&manifest).map_err(|error| ApiError::internal(&error))?;
    Ok(([(CONTENT_TYPE, "application/x-yaml")], format!("---\n{yaml}")).into_response())
}

/// One app's section.
pub(super) async fn section(
    state: &State,
    tx: &Tx,
    app: &app::Model,
) -> Result<Map<String, Value>, ApiError> {
    let mut section = Map::new();
    section.insert("name".into(), app.name.as_str().into());
    if app.lifecycle == DOCKER {
        section.insert("lifecycle".into(), DOCKER.into());
        section.extend(docker(tx, app).await?);
    }
    let variables = env::open(state, app)?;
    if !variables.is_empty() {
        section.insert("env".into(), json!(variables));
    }
    section.insert(
        "features".into(),
        json!({"ssh": app.ssh_enabled, "revisions": app.revisions_enabled}),
    );
    let routes = routes(tx, app).await?;
    if !routes.is_empty() {
        section.insert("routes".into(), routes.into());
    }
    let metadata = MetadataOf::read(tx, [app.guid.as_str()]).await?.of(&app.guid);
    let metadata: Map<String, Value> = metadata
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, map)| map.as_object().is_some_and(|map| !map.is_empty()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    if !metadata.is_empty() {
        section.insert("metadata".into(), metadata.into());
    }
    let processes = tx
        .all(Query::<process::Entity>::new().eq(process::Column::AppGuid, &app.guid))
        .await?;
    section.insert(
        "processes".into(),
        processes.iter().map(process_section).collect(),
    );
    Ok(section)
}

async fn docker(tx: &Tx, app: &app::Model) -> Result<Option<(String, Value)>, ApiError> {
    let newest = Query::<package::Entity>::new()
        .eq(package::Column::AppGuid, &app.guid)
        .order(package::Column::CreatedAt, Direction::Descending);
    Ok(tx.one(newest).await?.map(|package| {
        let mut docker = json!({"image": package.image});
        if let Some(username) = package.username {
            docker["username"] = username.into();
        }
        ("docker".to_owned(), docker)
    }))
}

async fn routes(tx: &Tx, app: &app::Model) -> Result<Vec<Value>, ApiError> {
    let mapped = Query::<destination::Entity>::new().eq(destination::Column::AppGuid, &app.guid);
    let mut routes = Vec::new();
    for destination in tx.all(mapped).await? {
        let row = tx.get::<route::Entity>(&destination.route_guid).await?;
        let domain = tx.get::<domain::Entity>(&row.domain_guid).await?;
        routes
            .push(json!({"route": crate::route::url(&row, &domain.name), "protocol": destination.protocol}));
    }
    Ok(routes)
}

fn process_section(row: &process::Model) -> Value {
    let mut section = json!({
        "type": row.kind, "instances": row.instances, "memory": format!("{}M", row.memory_mb),
        "disk-quota": format!("{}M", row.disk_mb),
        "log-rate-limit-per-second":
            if row.log_rate_limit < 0 { json!(-1) } else { json!(format!("{}B", row.log_rate_limit)) },
        "health-check-type": row.health_type, "readiness-health-check-type": row.readiness_type,
    });
    let optional = [
        ("command", row.command.clone().map(Value::from)),
        ("user", row.run_as.clone().map(Value::from)),
        (
            "health-check-http-endpoint",
            row.health_endpoint.clone().map(Value::from),
        ),
        ("timeout", row.health_timeout.map(Value::from)),
        (
            "health-check-invocation-timeout",
            row.health_invocation_timeout.map(Value::from),
        ),
        ("health-check-interval", row.health_interval.map(Value::from)),
        (
            "readiness-health-check-http-endpoint",
            row.readiness_endpoint.clone().map(Value::from),
        ),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            section[key] = value;
        }
    }
    section
}
