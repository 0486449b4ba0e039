//! Spaces: where apps of one team live.

use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Query, StoreError, Tx, new_guid, org, route, space};

use crate::body::{Body, Metadata, ToOne};
use crate::caller::{Caller, Right, org_status, refuse, within_spaces};
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::event::{self, Target};
use crate::list::ListQuery;
use crate::org::check_name;
use crate::present::{MetadataOf, action, link, time, to_one, with_included, write_metadata};
use crate::{State, job};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v3/spaces", list),
        Endpoint::post("/v3/spaces", create),
        Endpoint::get("/v3/spaces/{guid}", show),
        Endpoint::patch("/v3/spaces/{guid}", update),
        Endpoint::delete("/v3/spaces/{guid}", delete),
        Endpoint::delete("/v3/spaces/{guid}/routes", delete_unmapped_routes),
        Endpoint::get(
            "/v3/spaces/{guid}/relationships/isolation_segment",
            isolation_segment,
        ),
        Endpoint::get("/v3/spaces/{guid}/features/ssh", show_ssh),
        Endpoint::patch("/v3/spaces/{guid}/features/ssh", update_ssh),
    ]
}

async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&["names", "organization_guids", "include"])?;
    let includes = query.includes(&["org", "organization"])?;
    let mut rows = within_spaces(
        Query::<space::Entity>::new(),
        &caller.permissions.visible_spaces(),
        space::Column::Guid,
    );
    rows = query.filter(rows, "names", space::Column::Name);
    rows = query.filter(rows, "organization_guids", space::Column::OrgGuid);
    rows = query.common(rows, &[("name", space::Column::Name)])?;
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
    rows: &[space::Model],
    wanted: &[String],
    body: Value,
) -> Result<Value, ApiError> {
    if wanted.is_empty() {
        return Ok(body);
    }
    let orgs = Query::<org::Entity>::new().any_of(org::Column::Guid, rows.iter().map(|row| &row.org_guid));
    let orgs = crate::org::present_all(state, tx, &tx.all(orgs).await?).await?;
    Ok(with_included(body, [("organizations", orgs)].into()))
}

async fn show(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&["include"])?;
    let includes = query.includes(&["org", "organization"])?;
    let tx = state.store.read().await?;
    let row = caller.space(&tx, &guid).await?;
    let body = present_one(&state, &tx, &row).await?;
    Ok(Json(
        include(&state, &tx, std::slice::from_ref(&row), &includes, body).await?,
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    relationships: Relationships,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Relationships {
    organization: ToOne,
}

async fn create(
    Extract(state): Extract<State>,
    caller: Caller,
    Body(body): Body<Create>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let org_guid = body.relationships.organization.guid().unwrap_or_default();
    let tx = state.store.write().await?;
    let invalid = || {
        ApiError::unprocessable(
            "Invalid organization. Ensure the organization exists and you have access to it.",
        )
    };
    let org = match caller.org(&tx, org_guid).await {
        Err(error) if error.status() == StatusCode::NOT_FOUND => return Err(invalid()),
        other => other?,
    };
    let status = org_status(&tx, org_guid).await?;
    caller
        .permissions
        .can_write_org(&org_guid.into(), status)
        .map_err(|why| refuse(why, "Organization"))?;
    check_name(&body.name)?;
    let row = space::Model {
        id: 0,
        guid: new_guid(),
        created_at: 0,
        updated_at: 0,
        name: body.name,
        org_guid: org.guid,
        ssh_allowed: true,
    };
    let row = tx.insert::<space::Entity>(row).await.map_err(taken)?;
    write_metadata(&tx, &row.guid, body.metadata.as_ref()).await?;
    event::record(
        &tx,
        &caller,
        "audit.space.create",
        target(&row),
        json!({"request": {"name": row.name}}),
    )
    .await?;
    let shown = present_one(&state, &tx, &row).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(shown)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    name: Option<String>,
    metadata: Option<Metadata>,
}

async fn update(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    Body(body): Body<Update>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.write().await?;
    let mut row = caller.demand(&tx, Right::Update, &guid, "Space").await?;
    if let Some(name) = body.name {
        check_name(&name)?;
        row.name = name;
    }
    let row = tx.update::<space::Entity>(row).await.map_err(taken)?;
    write_metadata(&tx, &guid, body.metadata.as_ref()).await?;
    event::record(
        &tx,
        &caller,
        "audit.space.update",
        target(&row),
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
    let row = caller.space(&tx, &guid).await?;
    let status = org_status(&tx, &row.org_guid).await?;
    caller
        .permissions
        .can_write_org(&row.org_guid.as_str().into(), status)
        .map_err(|why| refuse(why, "Space"))?;
    event::record(
        &tx,
        &caller,
        "audit.space.delete-request",
        target(&row),
        json!({"request": {"recursive": true}}),
    )
    .await?;
    tx.delete_where(Query::<store::role::Entity>::new().eq(store::role::Column::SpaceGuid, &guid))
        .await?;
    tx.delete::<space::Entity>(&guid).await?;
    let job = job::done(&tx, &caller, "space.delete").await?;
    tx.commit().await?;
    Ok(job.response(&state))
}

async fn delete_unmapped_routes(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let query = query.allow(&["unmapped"])?;
    if query.text("unmapped") != Some("true") {
        return Err(ApiError::bad_query("unmapped must be 'true'"));
    }
    let tx = state.store.write().await?;
    caller.demand(&tx, Right::Write, &guid, "Space").await?;
    for row in tx
        .all(Query::<route::Entity>::new().eq(route::Column::SpaceGuid, &guid))
        .await?
    {
        let mapped =
            Query::<store::destination::Entity>::new().eq(store::destination::Column::RouteGuid, &row.guid);
        if tx.count(mapped).await? == 0 {
            tx.delete::<route::Entity>(&row.guid).await?;
        }
    }
    let job = job::done(&tx, &caller, "space.delete_unmapped_routes").await?;
    tx.commit().await?;
    Ok(job.response(&state))
}

async fn isolation_segment(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    caller.space(&state.store.read().await?, &guid).await?;
    let path = format!("/v3/spaces/{guid}/relationships/isolation_segment");
    Ok(Json(
        json!({"data": null, "links": {"self": link(&state.settings.api_url, &path)}}),
    ))
}

async fn show_ssh(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let row = caller.space(&state.store.read().await?, &guid).await?;
    Ok(Json(present_ssh(&row)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Enabled {
    enabled: bool,
}

async fn update_ssh(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    Body(body): Body<Enabled>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.write().await?;
    let row = caller.demand(&tx, Right::Update, &guid, "Space").await?;
    let row = tx
        .update::<space::Entity>(space::Model {
            ssh_allowed: body.enabled,
            ..row
        })
        .await?;
    tx.commit().await?;
    Ok(Json(present_ssh(&row)))
}

fn present_ssh(row: &space::Model) -> Value {
    json!({"name": "ssh", "description": "Enable SSHing into apps in the space.", "enabled": row.ssh_allowed})
}

fn taken(error: StoreError) -> ApiError {
    match error {
        StoreError::Conflict { .. } => ApiError::unprocessable("Name must be unique per organization"),
        other => other.into(),
    }
}

fn target(row: &space::Model) -> Target<'_> {
    Target {
        kind: "space",
        guid: &row.guid,
        name: &row.name,
        space_guid: Some(&row.guid),
        org_guid: Some(&row.org_guid),
    }
}

async fn present_one(state: &State, tx: &Tx, row: &space::Model) -> Result<Value, ApiError> {
    Ok(present_all(state, tx, std::slice::from_ref(row)).await?.remove(0))
}

/// The resources of these rows.
pub(crate) async fn present_all(
    state: &State,
    tx: &Tx,
    rows: &[space::Model],
) -> Result<Vec<Value>, ApiError> {
    let metadata = MetadataOf::read(tx, rows.iter().map(|row| row.guid.as_str())).await?;
    let origin = &state.settings.api_url;
    let resource = |row: &space::Model| {
        let path = format!("/v3/spaces/{}", row.guid);
        json!({
            "guid": row.guid, "created_at": time(row.created_at), "updated_at": time(row.updated_at),
            "name": row.name,
            "relationships": {"organization": to_one(Some(&row.org_guid)), "quota": to_one(None)},
            "metadata": metadata.of(&row.guid),
            "links": {
                "self": link(origin, &path),
                "organization": link(origin, &format!("/v3/organizations/{}", row.org_guid)),
                "features": link(origin, &format!("{path}/features")),
                "apply_manifest": action(origin, &format!("{path}/actions/apply_manifest"), "POST"),
            },
        })
    };
    Ok(rows.iter().map(resource).collect())
}
