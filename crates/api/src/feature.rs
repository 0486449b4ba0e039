//! App features: ssh, revisions.

use axum::Json;
use axum::extract::{Path, State as Extract};
use serde::Deserialize;
use serde_json::{Value, json};
use store::app;

use crate::State;
use crate::app::find as find_app;
use crate::body::Body;
use crate::caller::{Caller, Right};
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::list::ListQuery;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v3/apps/{guid}/features", list),
        Endpoint::get("/v3/apps/{guid}/features/{name}", show),
        Endpoint::patch("/v3/apps/{guid}/features/{name}", update),
        Endpoint::get("/v3/apps/{guid}/ssh_enabled", ssh_enabled),
    ]
}

fn present(app: &app::Model, name: &str) -> Result<Value, ApiError> {
    let (description, enabled) = match name {
        "ssh" => ("Enable SSHing into the app.", app.ssh_enabled),
        "revisions" => ("Enable versioning of an application", app.revisions_enabled),
        _ => return Err(ApiError::not_found("Feature")),
    };
    Ok(json!({"name": name, "description": description, "enabled": enabled}))
}

async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let (app, _) = find_app(&state.store.read().await?, &caller, &guid, Right::Read).await?;
    let resources = vec![present(&app, "ssh")?, present(&app, "revisions")?];
    Ok(Json(query.envelope(
        &state.settings.api_url,
        query.page()?,
        2,
        resources,
    )))
}

async fn show(
    Extract(state): Extract<State>,
    caller: Caller,
    Path((guid, name)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let (app, _) = find_app(&state.store.read().await?, &caller, &guid, Right::Read).await?;
    present(&app, &name).map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    enabled: bool,
}

async fn update(
    Extract(state): Extract<State>,
    caller: Caller,
    Path((guid, name)): Path<(String, String)>,
    Body(body): Body<Update>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.write().await?;
    let (mut app, _) = find_app(&tx, &caller, &guid, Right::Write).await?;
    match name.as_str() {
        "ssh" => app.ssh_enabled = body.enabled,
        "revisions" => app.revisions_enabled = body.enabled,
        _ => return Err(ApiError::not_found("Feature")),
    }
    let app = tx.update::<app::Entity>(app).await?;
    tx.commit().await?;
    present(&app, &name).map(Json)
}

async fn ssh_enabled(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (app, space) = find_app(&state.store.read().await?, &caller, &guid, Right::Read).await?;
    let (enabled, reason) = match (space.ssh_allowed, app.ssh_enabled) {
        (true, true) => (true, ""),
        (false, _) => (false, "Disabled for space"),
        (true, false) => (false, "Disabled for app"),
    };
    Ok(Json(json!({"enabled": enabled, "reason": reason})))
}
