//! Organizations: the tenants.

use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Query, StoreError, Tx, new_guid, org, org_quota};

use crate::State;
use crate::body::{Body, Metadata};
use crate::caller::{Caller, org_status, refuse, within_orgs};
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::event::{self, Target};
use crate::list::ListQuery;
use crate::present::{MetadataOf, link, time, to_one, write_metadata};
use crate::{flag, job, role};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v3/organizations", list),
        Endpoint::post("/v3/organizations", create),
        Endpoint::get("/v3/organizations/{guid}", show),
        Endpoint::patch("/v3/organizations/{guid}", update),
        Endpoint::delete("/v3/organizations/{guid}", delete),
        Endpoint::get(
            "/v3/organizations/{guid}/relationships/default_isolation_segment",
            isolation_segment,
        ),
    ]
}

async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&["names"])?;
    let mut rows = within_orgs(
        Query::<org::Entity>::new(),
        &caller.permissions.visible_orgs(),
        org::Column::Guid,
    );
    rows = query.filter(rows, "names", org::Column::Name);
    rows = query.common(rows, &[("name", org::Column::Name)])?;
    let page = query.page()?;
    let tx = state.store.read().await?;
    let (rows, total) = tx.page(rows, page).await?;
    let resources = present_all(&state, &tx, &rows).await?;
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
    let row = caller.org(&tx, &guid).await?;
    Ok(Json(present_one(&state, &tx, &row).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    #[serde(default)]
    suspended: bool,
    metadata: Option<Metadata>,
}

async fn create(
    Extract(state): Extract<State>,
    caller: Caller,
    Body(body): Body<Create>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let tx = state.store.write().await?;
    if !caller.identity.is_admin() && !flag::enabled(&tx, "user_org_creation").await? {
        return Err(ApiError::not_authorized());
    }
    check_name(&body.name)?;
    let quota = tx
        .one(Query::<org_quota::Entity>::new())
        .await?
        .ok_or(StoreError::NotFound {
            noun: "Organization quota",
        })?;
    let row = org::Model {
        id: 0,
        guid: new_guid(),
        created_at: 0,
        updated_at: 0,
        name: body.name,
        suspended: body.suspended,
        quota_guid: quota.guid,
    };
    let name = row.name.clone();
    let row = tx
        .insert::<org::Entity>(row)
        .await
        .map_err(|error| taken(error, &name))?;
    write_metadata(&tx, &row.guid, body.metadata.as_ref()).await?;
    role::creator_of_org(&tx, &caller, &row).await?;
    event::record(
        &tx,
        &caller,
        "audit.organization.create",
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
    suspended: Option<bool>,
    metadata: Option<Metadata>,
}

async fn update(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    Body(body): Body<Update>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.write().await?;
    let mut row = caller.org(&tx, &guid).await?;
    let status = org_status(&tx, &guid).await?;
    caller
        .permissions
        .can_write_org(&guid.as_str().into(), status)
        .map_err(|why| refuse(why, "Organization"))?;
    if body.suspended.is_some_and(|suspended| suspended != row.suspended) {
        caller.demand_admin()?;
    }
    if let Some(name) = body.name {
        check_name(&name)?;
        row.name = name;
    }
    row.suspended = body.suspended.unwrap_or(row.suspended);
    let name = row.name.clone();
    let row = tx
        .update::<org::Entity>(row)
        .await
        .map_err(|error| taken(error, &name))?;
    write_metadata(&tx, &guid, body.metadata.as_ref()).await?;
    event::record(
        &tx,
        &caller,
        "audit.organization.update",
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
    let row = caller.org(&tx, &guid).await?;
    caller.demand_admin()?;
    event::record(
        &tx,
        &caller,
        "audit.organization.delete-request",
        target(&row),
        json!({}),
    )
    .await?;
    tx.delete::<org::Entity>(&guid).await?;
    let job = job::done(&tx, &caller, "organization.delete").await?;
    tx.commit().await?;
    Ok(job.response(&state))
}

async fn isolation_segment(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.read().await?;
    caller.org(&tx, &guid).await?;
    let path = format!("/v3/organizations/{guid}/relationships/default_isolation_segment");
    Ok(Json(
        json!({"data": null, "links": {"self": link(&state.settings.api_url, &path)}}),
    ))
}

/// Refuses names of organizations and spaces that the reference refuses.
pub(crate) fn check_name(name: &str) -> Result<(), ApiError> {
    let printable = name.chars().all(|c| !c.is_control());
    match name.chars().count() {
        0 => Err(ApiError::unprocessable(
            "Name is too short (minimum is 1 character)",
        )),
        1..=255 if printable => Ok(()),
        1..=255 => Err(ApiError::unprocessable("Name is invalid")),
        _ => Err(ApiError::unprocessable(
            "Name is too long (maximum is 255 characters)",
        )),
    }
}

fn taken(error: StoreError, name: &str) -> ApiError {
    match error {
        StoreError::Conflict { .. } => {
            ApiError::unprocessable(format!("Organization '{name}' already exists."))
        }
        other => other.into(),
    }
}

fn target(row: &org::Model) -> Target<'_> {
    Target {
        kind: "organization",
        guid: &row.guid,
        name: &row.name,
        space_guid: None,
        org_guid: Some(&row.guid),
    }
}

async fn present_one(state: &State, tx: &Tx, row: &org::Model) -> Result<Value, ApiError> {
    Ok(present_all(state, tx, std::slice::from_ref(row)).await?.remove(0))
}

/// The resources of these rows.
pub(crate) async fn present_all(state: &State, tx: &Tx, rows: &[org::Model]) -> Result<Vec<Value>, ApiError> {
    let metadata = MetadataOf::read(tx, rows.iter().map(|row| row.guid.as_str())).await?;
    let origin = &state.settings.api_url;
    let resource = |row: &org::Model| {
        let path = format!("/v3/organizations/{}", row.guid);
        json!({
            "guid": row.guid, "created_at": time(row.created_at), "updated_at": time(row.updated_at),
            "name": row.name, "suspended": row.suspended,
            "relationships": {"quota": to_one(Some(&row.quota_guid))},
            "metadata": metadata.of(&row.guid),
            "links": {
                "self": link(origin, &path),
                "domains": link(origin, &format!("{path}/domains")),
                "default_domain": link(origin, &format!("{path}/domains/default")),
                "quota": link(origin, &format!("/v3/organization_quotas/{}", row.quota_guid)),
            },
        })
    };
    Ok(rows.iter().map(resource).collect())
}
