//! Apps: create, show, change, delete, start and stop.

use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Query, StoreError, Tx, app, droplet, new_guid, org, process, space};

use crate::body::{Body, Metadata, ToOne};
use crate::caller::{Caller, Right, within_spaces};
use crate::endpoint::Endpoint;
use crate::env::{self, Changes, Variables};
use crate::error::ApiError;
use crate::event::{self, Target};
use crate::list::ListQuery;
use crate::present::{MetadataOf, action, link, time, to_one, with_included, write_metadata};
use crate::{State, desired, flag, job, notice, process as process_of};

/// Lifecycle of apps that run images.
pub const DOCKER: &str = "docker";
/// Desired state of an app that is to run.
pub const STARTED: &str = "STARTED";
/// Desired state of an app that is not to run.
pub const STOPPED: &str = "STOPPED";

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v3/apps", list),
        Endpoint::post("/v3/apps", create),
        Endpoint::get("/v3/apps/{guid}", show),
        Endpoint::patch("/v3/apps/{guid}", update),
        Endpoint::delete("/v3/apps/{guid}", delete),
        Endpoint::post("/v3/apps/{guid}/actions/start", start),
        Endpoint::post("/v3/apps/{guid}/actions/stop", stop),
        Endpoint::post("/v3/apps/{guid}/actions/restart", restart),
    ]
}

/// The app and its space, if the caller has this right there.
pub async fn find(
    tx: &Tx,
    caller: &Caller,
    guid: &str,
    right: Right,
) -> Result<(app::Model, space::Model), ApiError> {
    let row = tx.get::<app::Entity>(guid).await?;
    let space = caller.demand(tx, right, &row.space_guid, "App").await?;
    Ok((row, space))
}

/// The app as the target of an event.
pub fn target<'a>(app: &'a app::Model, space: &'a space::Model) -> Target<'a> {
    Target {
        kind: "app",
        guid: &app.guid,
        name: &app.name,
        space_guid: Some(&space.guid),
        org_guid: Some(&space.org_guid),
    }
}

async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&[
        "names",
        "space_guids",
        "organization_guids",
        "stacks",
        "lifecycle_type",
        "include",
    ])?;
    let includes = query.includes(&["space", "org", "space.organization"])?;
    let mut rows = within_spaces(
        Query::<app::Entity>::new(),
        &caller.permissions.visible_spaces(),
        app::Column::SpaceGuid,
    );
    rows = query.filter(rows, "names", app::Column::Name);
    rows = query.filter(rows, "space_guids", app::Column::SpaceGuid);
    rows = query.filter(rows, "lifecycle_type", app::Column::Lifecycle);
    if let Some(orgs) = query.csv("organization_guids") {
        let spaces = Query::<space::Entity>::new().any_of(space::Column::OrgGuid, orgs);
        rows = rows.within(app::Column::SpaceGuid, space::Column::Guid, spaces);
    }
    if query.csv("stacks").is_some_and(|stacks| stacks != [""]) {
        // Images have no stack, so no app has one of those named.
        rows = rows.any_of(app::Column::Guid, Vec::<String>::new());
    }
    rows = query.common(
        rows,
        &[("name", app::Column::Name), ("state", app::Column::State)],
    )?;
    let page = query.page()?;
    let tx = state.store.read().await?;
    let (rows, total) = tx.page(rows, page).await?;
    let resources = present_all(&state, &tx, &rows).await?;
    let body = query.envelope(&state.settings.api_url, page, total, resources);
    Ok(Json(include(&state, &tx, &rows, &includes, body).await?))
}

async fn include(
    state: &State,
    tx: &Tx,
    apps: &[app::Model],
    wanted: &[String],
    body: Value,
) -> Result<Value, ApiError> {
    let mut included = std::collections::BTreeMap::new();
    if wanted.is_empty() {
        return Ok(body);
    }
    let spaces =
        Query::<space::Entity>::new().any_of(space::Column::Guid, apps.iter().map(|app| &app.space_guid));
    let spaces = tx.all(spaces).await?;
    if wanted
        .iter()
        .any(|name| name == "space" || name == "space.organization")
    {
        included.insert("spaces", crate::space::present_all(state, tx, &spaces).await?);
    }
    if wanted
        .iter()
        .any(|name| name == "org" || name == "space.organization")
    {
        let orgs =
            Query::<org::Entity>::new().any_of(org::Column::Guid, spaces.iter().map(|space| &space.org_guid));
        included.insert(
            "organizations",
            crate::org::present_all(state, tx, &tx.all(orgs).await?).await?,
        );
    }
    Ok(with_included(body, included))
}

async fn show(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&["include"])?;
    let includes = query.includes(&["space", "org", "space.organization"])?;
    let tx = state.store.read().await?;
    let (row, _) = find(&tx, &caller, &guid, Right::Read).await?;
    let body = present_one(&state, &tx, &row).await?;
    Ok(Json(
        include(&state, &tx, std::slice::from_ref(&row), &includes, body).await?,
    ))
}

/// `lifecycle` of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lifecycle {
    /// `docker`, `buildpack`, `cnb`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Empty for docker.
    #[serde(default)]
    pub data: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    relationships: Relationships,
    lifecycle: Option<Lifecycle>,
    #[serde(default)]
    environment_variables: Changes,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Relationships {
    space: ToOne,
}

async fn create(
    Extract(state): Extract<State>,
    caller: Caller,
    Body(body): Body<Create>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let space_guid = body.relationships.space.guid().unwrap_or_default();
    let tx = state.store.write().await?;
    let invalid =
        || ApiError::unprocessable("Invalid space. Ensure that the space exists and you have access to it.");
    if tx.find::<space::Entity>(space_guid).await?.is_none() {
        return Err(invalid());
    }
    let space = match caller.demand(&tx, Right::Write, space_guid, "Space").await {
        Err(error) if error.status() == StatusCode::NOT_FOUND => return Err(invalid()),
        other => other?,
    };
    let mut variables = Variables::new();
    env::merge(&mut variables, body.environment_variables).map_err(ApiError::unprocessable_all)?;
    let lifecycle = body
        .lifecycle
        .map_or("buildpack".to_owned(), |lifecycle| lifecycle.kind);
    let app = insert(
        &state,
        &tx,
        &caller,
        Draft {
            name: body.name,
            space,
            lifecycle,
            variables,
        },
    )
    .await?;
    write_metadata(&tx, &app.guid, body.metadata.as_ref()).await?;
    let shown = present_one(&state, &tx, &app).await?;
    tx.commit().await?;
    notice::api(&state, &app.guid, format!("Created app with guid {}", app.guid));
    Ok((StatusCode::CREATED, Json(shown)))
}

/// An app to be made.
pub(crate) struct Draft {
    /// Unique in its space.
    pub name: String,
    /// Where.
    pub space: space::Model,
    /// `docker`…
    pub lifecycle: String,
    /// The user's variables.
    pub variables: Variables,
}

/// Adds an app in state STOPPED with its `web` process.
pub(crate) async fn insert(
    state: &State,
    tx: &Tx,
    caller: &Caller,
    draft: Draft,
) -> Result<app::Model, ApiError> {
    check_name(&draft.name)?;
    match draft.lifecycle.as_str() {
        DOCKER => flag::demand(tx, "diego_docker").await?,
        "buildpack" => {}
        "cnb" => flag::demand(tx, "diego_cnb").await?,
        _ => {
            return Err(ApiError::unprocessable(
                "Lifecycle type is not included in the list: buildpack, docker, cnb",
            ));
        }
    }
    let guid = new_guid();
    let row = app::Model {
        id: 0,
        env_sealed: env::seal(state, &guid, &draft.variables),
        guid,
        created_at: 0,
        updated_at: 0,
        name: draft.name,
        space_guid: draft.space.guid.clone(),
        state: STOPPED.to_owned(),
        lifecycle: draft.lifecycle,
        droplet_guid: None,
        ssh_enabled: true,
        revisions_enabled: true,
    };
    let name = row.name.clone();
    let row = tx
        .insert::<app::Entity>(row)
        .await
        .map_err(|error| taken(error, &name))?;
    tx.insert::<process::Entity>(process_of::draft(&state.settings, &row.guid, "web"))
        .await?;
    let data = json!({"request": {"name": row.name, "lifecycle": row.lifecycle}});
    event::record(tx, caller, "audit.app.create", target(&row, &draft.space), data).await?;
    Ok(row)
}

/// Refuses names the reference refuses.
pub(crate) fn check_name(name: &str) -> Result<(), ApiError> {
    match name.chars().count() {
        0 => Err(ApiError::unprocessable("Name can't be blank")),
        1..=255 if name.chars().all(|c| !c.is_control()) && !name.trim().is_empty() => Ok(()),
        1..=255 => Err(ApiError::unprocessable("Name is invalid")),
        _ => Err(ApiError::unprocessable(
            "Name is too long (maximum is 255 characters)",
        )),
    }
}

fn taken(error: StoreError, name: &str) -> ApiError {
    match error {
        StoreError::Conflict { .. } => ApiError::unprocessable_as(
            10016,
            "CF-UniquenessError",
            format!("App with the name '{name}' already exists."),
        ),
        other => other.into(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    name: Option<String>,
    lifecycle: Option<Lifecycle>,
    metadata: Option<Metadata>,
}

async fn update(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    Body(body): Body<Update>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.write().await?;
    let (mut row, space) = find(&tx, &caller, &guid, Right::Write).await?;
    if let Some(lifecycle) = body.lifecycle
        && lifecycle.kind != row.lifecycle
    {
        return Err(ApiError::unprocessable(format!(
            "Lifecycle type cannot be changed from {}",
            row.lifecycle
        )));
    }
    if let Some(name) = body.name {
        check_name(&name)?;
        row.name = name;
    }
    let name = row.name.clone();
    let row = tx
        .update::<app::Entity>(row)
        .await
        .map_err(|error| taken(error, &name))?;
    write_metadata(&tx, &guid, body.metadata.as_ref()).await?;
    event::record(
        &tx,
        &caller,
        "audit.app.update",
        target(&row, &space),
        json!({"request": {"name": row.name}}),
    )
    .await?;
    let shown = present_one(&state, &tx, &row).await?;
    tx.commit().await?;
    Ok(Json(shown))
}

async fn delete(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Response, ApiError> {
    let tx = state.store.write().await?;
    let (row, space) = find(&tx, &caller, &guid, Right::Write).await?;
    event::record(
        &tx,
        &caller,
        "audit.app.delete-request",
        target(&row, &space),
        json!({"request": {"recursive": true}}),
    )
    .await?;
    tx.delete::<app::Entity>(&guid).await?;
    let job = job::done(&tx, &caller, "app.delete").await?;
    tx.commit().await?;
    notice::api(&state, &guid, format!("Deleted app with guid {guid}"));
    Ok(job.response(&state))
}

async fn start(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    run(&state, &caller, &guid, Run::Start).await
}

async fn restart(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    run(&state, &caller, &guid, Run::Restart).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    Start,
    Restart,
}

async fn run(state: &State, caller: &Caller, guid: &str, how: Run) -> Result<Json<Value>, ApiError> {
    let tx = state.store.write().await?;
    let (mut row, space) = find(&tx, caller, guid, Right::ManageApps).await?;
    let Some(droplet) = &row.droplet_guid else {
        return Err(ApiError::unprocessable(
            "Assign a droplet before starting this app.",
        ));
    };
    let droplet = tx.get::<droplet::Entity>(droplet).await?;
    if row.lifecycle == DOCKER {
        flag::demand(&tx, "diego_docker").await?;
    }
    let runs = row.state == STARTED;
    if how == Run::Restart || !runs {
        row.state = STARTED.to_owned();
        row = tx.update::<app::Entity>(row).await?;
        desired::pin(state, &tx, &row, &droplet).await?;
    }
    let (verb, kind) = match how {
        Run::Start => ("Starting", "audit.app.start"),
        Run::Restart => ("Restarting", "audit.app.restart"),
    };
    event::record(&tx, caller, kind, target(&row, &space), json!({})).await?;
    let shown = present_one(state, &tx, &row).await?;
    tx.commit().await?;
    notice::api(state, guid, format!("{verb} app with guid {guid}"));
    Ok(Json(shown))
}

async fn stop(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.write().await?;
    let (mut row, space) = find(&tx, &caller, &guid, Right::ManageApps).await?;
    if row.state != STOPPED {
        row.state = STOPPED.to_owned();
        row = tx.update::<app::Entity>(row).await?;
        desired::unpin(&tx, &guid).await?;
    }
    event::record(&tx, &caller, "audit.app.stop", target(&row, &space), json!({})).await?;
    let shown = present_one(&state, &tx, &row).await?;
    tx.commit().await?;
    notice::api(&state, &guid, format!("Stopping app with guid {guid}"));
    Ok(Json(shown))
}

pub(crate) async fn present_one(state: &State, tx: &Tx, row: &app::Model) -> Result<Value, ApiError> {
    Ok(present_all(state, tx, std::slice::from_ref(row)).await?.remove(0))
}

async fn present_all(state: &State, tx: &Tx, rows: &[app::Model]) -> Result<Vec<Value>, ApiError> {
    let metadata = MetadataOf::read(tx, rows.iter().map(|row| row.guid.as_str())).await?;
    Ok(rows
        .iter()
        .map(|row| resource(&state.settings.api_url, row, &metadata))
        .collect())
}

/// `lifecycle` of an answer.
pub(crate) fn lifecycle(kind: &str) -> Value {
    match kind {
        DOCKER => json!({"type": DOCKER, "data": {}}),
        kind => json!({"type": kind, "data": {"buildpacks": [], "stack": null}}),
    }
}

fn resource(origin: &str, row: &app::Model, metadata: &MetadataOf) -> Value {
    let path = format!("/v3/apps/{}", row.guid);
    let below = |what: &str| link(origin, &format!("{path}/{what}"));
    json!({
        "guid": row.guid, "created_at": time(row.created_at), "updated_at": time(row.updated_at),
        "name": row.name, "state": row.state, "lifecycle": lifecycle(&row.lifecycle),
        "relationships": {
            "space": to_one(Some(&row.space_guid)),
            "current_droplet": {"data": {"guid": row.droplet_guid}},
        },
        "metadata": metadata.of(&row.guid),
        "links": {
            "self": link(origin, &path),
            "environment_variables": below("environment_variables"),
            "space": link(origin, &format!("/v3/spaces/{}", row.space_guid)),
            "processes": below("processes"),
            "packages": below("packages"),
            "current_droplet": below("droplets/current"),
            "droplets": below("droplets"),
            "features": below("features"),
            "start": action(origin, &format!("{path}/actions/start"), "POST"),
            "stop": action(origin, &format!("{path}/actions/stop"), "POST"),
        },
    })
}
