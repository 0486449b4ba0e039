//! Roles: who may do what where. A role in a space needs one in its organization.
//!
//! Rules and texts: cloudfoundry/cloud_controller_ng:app/controllers/v3/roles_controller.rb,
//! app/actions/role_create.rb. `role_create.rs` gives roles; this file shows and takes them.

use std::collections::BTreeMap;

use auth::{Role, Subject};
use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::response::Response;
use serde_json::{Value, json};
use store::role::{Column, Entity, Model};
use store::{Query, StoreError, Tx, new_guid, org, space, user};

use crate::State;
use crate::caller::{Caller, Right, org_status, refuse, within_orgs, within_spaces};
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::event::{self, Target};
use crate::job;
use crate::list::ListQuery;
use crate::present::{link, time, to_one, with_included};
use crate::role_create::create;

const INCLUDES: &[&str] = &["user", "organization", "space"];

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v3/roles", list),
        Endpoint::post("/v3/roles", create),
        Endpoint::get("/v3/roles/{guid}", show),
        Endpoint::delete("/v3/roles/{guid}", delete),
    ]
}

/// Gives the creator of an organization the roles to run it. Admins need none.
pub(crate) async fn creator_of_org(tx: &Tx, caller: &Caller, org: &org::Model) -> Result<(), StoreError> {
    let Subject::User { guid, .. } = &caller.identity.subject else {
        return Ok(());
    };
    if caller.identity.is_admin() {
        return Ok(());
    }
    for kind in [Role::OrganizationUser, Role::OrganizationManager] {
        insert(tx, kind, guid.as_str(), &org.guid, "").await?;
    }
    Ok(())
}

/// Adds a role; `space` is empty for one in the organization.
pub(crate) async fn insert(
    tx: &Tx,
    kind: Role,
    user: &str,
    org: &str,
    space: &str,
) -> Result<Model, StoreError> {
    let row = Model {
        id: 0,
        guid: new_guid(),
        created_at: 0,
        updated_at: 0,
        kind: kind.as_str().to_owned(),
        user_guid: user.to_owned(),
        org_guid: org.to_owned(),
        space_guid: space.to_owned(),
    };
    tx.insert::<Entity>(row).await
}

/// Roles the caller may see: those in organizations and in spaces one sees.
fn visible(caller: &Caller) -> Query<Entity> {
    let of_orgs = Query::new().eq(Column::SpaceGuid, "");
    let of_spaces = Query::new().ne(Column::SpaceGuid, "");
    Query::new().either(
        within_orgs(of_orgs, &caller.permissions.visible_orgs(), Column::OrgGuid),
        within_spaces(of_spaces, &caller.permissions.visible_spaces(), Column::SpaceGuid),
    )
}

async fn find(tx: &Tx, caller: &Caller, guid: &str) -> Result<Model, ApiError> {
    let row = tx.one(visible(caller).eq(Column::Guid, guid)).await?;
    row.ok_or_else(|| ApiError::not_found("Role"))
}

async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&[
        "types",
        "user_guids",
        "space_guids",
        "organization_guids",
        "include",
    ])?;
    let includes = query.includes(INCLUDES)?;
    let mut rows = visible(&caller);
    rows = query.filter(rows, "types", Column::Kind);
    rows = query.filter(rows, "user_guids", Column::UserGuid);
    rows = query.filter(rows, "space_guids", Column::SpaceGuid);
    if let Some(orgs) = query.csv("organization_guids") {
        // A role in a space has no organization in the API's eyes.
        rows = rows.any_of(Column::OrgGuid, orgs).eq(Column::SpaceGuid, "");
    }
    rows = query.common(rows, &[])?;
    let page = query.page()?;
    let tx = state.store.read().await?;
    let (rows, total) = tx.page(rows, page).await?;
    let resources = rows.iter().map(|row| present(&state, row)).collect();
    let body = query.envelope(&state.settings.api_url, page, total, resources);
    Ok(Json(include(&state, &tx, &rows, &includes, body).await?))
}

async fn show(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let includes = query.allow(&["include"])?.includes(INCLUDES)?;
    let tx = state.store.read().await?;
    let row = find(&tx, &caller, &guid).await?;
    let body = present(&state, &row);
    let rows = std::slice::from_ref(&row);
    Ok(Json(include(&state, &tx, rows, &includes, body).await?))
}

async fn include(
    state: &State,
    tx: &Tx,
    rows: &[Model],
    wanted: &[String],
    body: Value,
) -> Result<Value, ApiError> {
    let mut included = BTreeMap::new();
    let wants = |name: &str| wanted.iter().any(|wanted| wanted == name);
    if wants("user") {
        let users =
            Query::<user::Entity>::new().any_of(user::Column::Guid, rows.iter().map(|r| &r.user_guid));
        let users = crate::user::present_all(state, tx, &tx.all(users).await?).await?;
        included.insert("users", users);
    }
    if wants("organization") {
        let of_orgs = rows.iter().filter(|row| row.space_guid.is_empty());
        let orgs = Query::<org::Entity>::new().any_of(org::Column::Guid, of_orgs.map(|row| &row.org_guid));
        let orgs = crate::org::present_all(state, tx, &tx.all(orgs).await?).await?;
        included.insert("organizations", orgs);
    }
    if wants("space") {
        let spaces =
            Query::<space::Entity>::new().any_of(space::Column::Guid, rows.iter().map(|r| &r.space_guid));
        let spaces = crate::space::present_all(state, tx, &tx.all(spaces).await?).await?;
        included.insert("spaces", spaces);
    }
    Ok(with_included(body, included))
}

async fn delete(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Response, ApiError> {
    let tx = state.store.write().await?;
    let row = find(&tx, &caller, &guid).await?;
    if row.space_guid.is_empty() {
        let status = org_status(&tx, &row.org_guid).await?;
        caller
            .permissions
            .can_write_org(&row.org_guid.as_str().into(), status)
            .map_err(|why| refuse(why, "Role"))?;
        keep_members(&tx, &row).await?;
    } else {
        caller.demand(&tx, Right::Update, &row.space_guid, "Role").await?;
    }
    tx.delete::<Entity>(&guid).await?;
    record(&tx, &caller, &row, "remove").await?;
    let job = job::done(&tx, &caller, "role.delete").await?;
    tx.commit().await?;
    Ok(job.response(&state))
}

/// Whoever has roles in the spaces of an organization stays in the organization.
async fn keep_members(tx: &Tx, row: &Model) -> Result<(), ApiError> {
    if row.kind != Role::OrganizationUser.as_str() {
        return Ok(());
    }
    let in_spaces = Query::<Entity>::new()
        .eq(Column::UserGuid, &row.user_guid)
        .eq(Column::OrgGuid, &row.org_guid)
        .ne(Column::SpaceGuid, "");
    match tx.count(in_spaces).await? {
        0 => Ok(()),
        _ => Err(ApiError::unprocessable(
            "Cannot delete organization_user role while user has roles in spaces in that organization.",
        )),
    }
}

/// Records that a role was given (`add`) or taken (`remove`).
pub(crate) async fn record(tx: &Tx, caller: &Caller, row: &Model, verb: &str) -> Result<(), ApiError> {
    let user = tx.get::<user::Entity>(&row.user_guid).await?;
    let target = Target {
        kind: "user",
        guid: &user.guid,
        name: crate::user::presentation_name(&user),
        space_guid: (!row.space_guid.is_empty()).then_some(row.space_guid.as_str()),
        org_guid: Some(&row.org_guid),
    };
    let kind = format!("audit.user.{}_{verb}", row.kind);
    Ok(event::record(tx, caller, &kind, target, json!({"role": row.kind})).await?)
}

/// The resource of this row.
pub(crate) fn present(state: &State, row: &Model) -> Value {
    let origin = &state.settings.api_url;
    let space = (!row.space_guid.is_empty()).then_some(row.space_guid.as_str());
    let org = space.is_none().then_some(row.org_guid.as_str());
    let mut links = json!({
        "self": link(origin, &format!("/v3/roles/{}", row.guid)),
        "user": link(origin, &format!("/v3/users/{}", row.user_guid)),
    });
    match space {
        Some(space) => links["space"] = link(origin, &format!("/v3/spaces/{space}")),
        None => links["organization"] = link(origin, &format!("/v3/organizations/{}", row.org_guid)),
    }
    json!({
        "guid": row.guid, "created_at": time(row.created_at), "updated_at": time(row.updated_at),
        "type": row.kind,
        "relationships": {
            "user": to_one(Some(&row.user_guid)), "organization": to_one(org), "space": to_one(space),
        },
        "links": links,
    })
}
