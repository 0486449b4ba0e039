//! Droplets: images pinned by staging, and which one an app runs.

use auth::Secret;
use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::response::Response;
use model::{Compression, ImageConfig, Layer};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Query, Tx, app, droplet};

use crate::app::{find as find_app, target};
use crate::body::{Body, Metadata, ToOne};
use crate::caller::{Caller, Right};
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::list::ListQuery;
use crate::package::{find as find_package, visible_apps};
use crate::present::{MetadataOf, action, link, time, to_one, write_metadata};
use crate::{State, event, job, notice};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v3/droplets", list),
        Endpoint::get("/v3/droplets/{guid}", show),
        Endpoint::patch("/v3/droplets/{guid}", update),
        Endpoint::delete("/v3/droplets/{guid}", delete),
        Endpoint::get("/v3/apps/{guid}/droplets", list_of_app),
        Endpoint::get("/v3/apps/{guid}/droplets/current", current),
        Endpoint::get("/v3/apps/{guid}/relationships/current_droplet", relationship),
        Endpoint::patch("/v3/apps/{guid}/relationships/current_droplet", assign),
        Endpoint::get("/v3/packages/{guid}/droplets", list_of_package),
    ]
}

/// A droplet opened for use.
pub struct Pinned {
    /// Reference as the user wrote it, made whole.
    pub reference: String,
    /// What is run, whatever the tag says meanwhile.
    pub manifest_digest: String,
    /// Bottom first.
    pub layers: Vec<Layer>,
    /// How to run it.
    pub config: ImageConfig,
    /// For the registry.
    pub username: Option<String>,
    /// For the registry.
    pub password: Option<Secret>,
}

impl Pinned {
    /// Opens the columns of a droplet.
    pub fn read(state: &State, row: &droplet::Model) -> Result<Self, ApiError> {
        let damaged = |error: store::Damaged| ApiError::internal(&error);
        let open = |sealed: &String| state.sealer.open(sealed, &row.guid);
        Ok(Self {
            reference: row.image.clone(),
            manifest_digest: row.manifest_digest.clone(),
            layers: row.read_layers().map_err(damaged)?,
            config: row.read_config().map_err(damaged)?,
            username: row.username.clone(),
            password: row
                .password_sealed
                .as_ref()
                .map(open)
                .transpose()
                .map_err(|error| ApiError::internal(&error))?,
        })
    }
}

/// How compressions are called in messages between roles.
pub fn compression_name(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    }
}

async fn find(
    tx: &Tx,
    caller: &Caller,
    guid: &str,
    right: Right,
) -> Result<(droplet::Model, app::Model), ApiError> {
    let row = tx.get::<droplet::Entity>(guid).await?;
    let app = tx.get::<app::Entity>(&row.app_guid).await?;
    caller.demand(tx, right, &app.space_guid, "Droplet").await?;
    Ok((row, app))
}

async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&["states", "app_guids", "space_guids", "organization_guids"])?;
    let apps = visible_apps(&caller, &query);
    page(
        &state,
        &query,
        Query::new().within(droplet::Column::AppGuid, app::Column::Guid, apps),
    )
    .await
}

async fn list_of_app(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&["states", "current"])?;
    let (app, _) = find_app(&state.store.read().await?, &caller, &guid, Right::Read).await?;
    let mut rows = Query::new().eq(droplet::Column::AppGuid, &guid);
    if query.text("current") == Some("true") {
        rows = rows.eq(droplet::Column::Guid, app.droplet_guid.unwrap_or_default());
    }
    page(&state, &query, rows).await
}

async fn list_of_package(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&["states"])?;
    find_package(&state.store.read().await?, &caller, &guid, Right::Read).await?;
    page(
        &state,
        &query,
        Query::new().eq(droplet::Column::PackageGuid, &guid),
    )
    .await
}

async fn page(
    state: &State,
    query: &ListQuery,
    mut rows: Query<droplet::Entity>,
) -> Result<Json<Value>, ApiError> {
    rows = query.filter(rows, "states", droplet::Column::State);
    rows = query.common(rows, &[])?;
    let page = query.page()?;
    let tx = state.store.read().await?;
    let (rows, total) = tx.page(rows, page).await?;
    let mut resources = Vec::new();
    for row in &rows {
        let mut resource = present(state, &tx, row).await?;
        resource["process_types"] = json!({"redacted_message": "[PRIVATE DATA HIDDEN IN LISTS]"});
        resource["execution_metadata"] = "[PRIVATE DATA HIDDEN IN LISTS]".into();
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
    let (row, _) = find(&tx, &caller, &guid, Right::Read).await?;
    present(&state, &tx, &row).await.map(Json)
}

async fn current(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.read().await?;
    let (app, _) = find_app(&tx, &caller, &guid, Right::Read).await?;
    let droplet = app.droplet_guid.ok_or_else(|| ApiError::not_found("Droplet"))?;
    present(&state, &tx, &tx.get::<droplet::Entity>(&droplet).await?)
        .await
        .map(Json)
}

async fn relationship(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (app, _) = find_app(&state.store.read().await?, &caller, &guid, Right::Read).await?;
    if app.droplet_guid.is_none() {
        return Err(ApiError::not_found("Droplet"));
    }
    Ok(Json(present_relationship(&state, &app)))
}

async fn assign(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    Body(body): Body<ToOne>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.write().await?;
    let (mut app, space) = find_app(&tx, &caller, &guid, Right::ManageApps).await?;
    let invalid = || {
        ApiError::unprocessable(
            "Unable to assign current droplet. Ensure the droplet exists and belongs to this app.",
        )
    };
    let droplet = tx
        .find::<droplet::Entity>(body.guid().unwrap_or_default())
        .await?
        .ok_or_else(invalid)?;
    if droplet.app_guid != guid || droplet.state != "STAGED" {
        return Err(invalid());
    }
    app.droplet_guid = Some(droplet.guid.clone());
    let app = tx.update::<app::Entity>(app).await?;
    let data = json!({"request": {"droplet_guid": droplet.guid}});
    event::record(
        &tx,
        &caller,
        "audit.app.droplet.mapped",
        target(&app, &space),
        data,
    )
    .await?;
    tx.commit().await?;
    notice::api(
        &state,
        &guid,
        format!(
            "Updated app with guid {guid} ({{\"droplet_guid\"=>\"{}\"}})",
            droplet.guid
        ),
    );
    Ok(Json(present_relationship(&state, &app)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    metadata: Option<Metadata>,
}

async fn update(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    Body(body): Body<Update>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.write().await?;
    let (row, _) = find(&tx, &caller, &guid, Right::Write).await?;
    write_metadata(&tx, &guid, body.metadata.as_ref()).await?;
    let shown = present(&state, &tx, &row).await?;
    tx.commit().await?;
    Ok(Json(shown))
}

async fn delete(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Response, ApiError> {
    let tx = state.store.write().await?;
    let (_, app) = find(&tx, &caller, &guid, Right::Write).await?;
    if app.droplet_guid.as_deref() == Some(guid.as_str()) {
        return Err(ApiError::unprocessable(
            "Unable to delete the app's current droplet. Assign another one first.",
        ));
    }
    tx.delete::<droplet::Entity>(&guid).await?;
    let job = job::done(&tx, &caller, "droplet.delete").await?;
    tx.commit().await?;
    Ok(job.response(&state))
}

fn present_relationship(state: &State, app: &app::Model) -> Value {
    let origin = &state.settings.api_url;
    json!({
        "data": app.droplet_guid.as_ref().map(|guid| json!({"guid": guid})),
        "links": {
            "self": link(origin, &format!("/v3/apps/{}/relationships/current_droplet", app.guid)),
            "related": link(origin, &format!("/v3/apps/{}/droplets/current", app.guid)),
        },
    })
}

async fn present(state: &State, tx: &Tx, row: &droplet::Model) -> Result<Value, ApiError> {
    let origin = &state.settings.api_url;
    let app = tx.get::<app::Entity>(&row.app_guid).await?;
    let metadata = MetadataOf::read(tx, [row.guid.as_str()]).await?;
    let process_types: Value = serde_json::from_str(&row.process_types).unwrap_or_default();
    Ok(json!({
        "guid": row.guid, "created_at": time(row.created_at), "updated_at": time(row.updated_at),
        "state": row.state, "error": row.error, "lifecycle": {"type": app.lifecycle, "data": {}},
        "image": row.image, "stack": null, "buildpacks": null, "checksum": null,
        "image_digest": {"index": row.index_digest, "manifest": row.manifest_digest},
        "process_types": process_types, "execution_metadata": row.execution_metadata,
        "relationships": {"app": to_one(Some(&row.app_guid))},
        "metadata": metadata.of(&row.guid),
        "links": {
            "self": link(origin, &format!("/v3/droplets/{}", row.guid)),
            "app": link(origin, &format!("/v3/apps/{}", row.app_guid)),
            "package": link(origin, &format!("/v3/packages/{}", row.package_guid)),
            "assign_current_droplet":
                action(origin, &format!("/v3/apps/{}/relationships/current_droplet", row.app_guid), "PATCH"),
        },
    }))
}
