//! Domains: what routes live under.

use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use model::OrgGuid;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Query, StoreError, Tx, domain, domain_share, new_guid, org, route, space};

use crate::body::{Body, Metadata, ToOne};
use crate::caller::{Caller, org_status, refuse};
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::list::ListQuery;
use crate::present::{MetadataOf, link, time, to_one, write_metadata};
use crate::{State, flag, job};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v3/domains", list),
        Endpoint::post("/v3/domains", create),
        Endpoint::get("/v3/domains/{guid}", show),
        Endpoint::patch("/v3/domains/{guid}", update),
        Endpoint::delete("/v3/domains/{guid}", delete),
        Endpoint::get("/v3/domains/{guid}/route_reservations", reservations),
        Endpoint::get("/v3/organizations/{guid}/domains", list_of_org),
        Endpoint::get("/v3/organizations/{guid}/domains/default", default_of_org),
    ]
}

fn shared() -> Query<domain::Entity> {
    Query::new().is_null(domain::Column::OrgGuid)
}

fn of_orgs<V: Into<store::Field> + Clone>(orgs: &[V]) -> Query<domain::Entity> {
    let shares = Query::<domain_share::Entity>::new().any_of(domain_share::Column::OrgGuid, orgs.to_vec());
    Query::new().either(
        Query::new().any_of(domain::Column::OrgGuid, orgs.to_vec()),
        Query::new().within(domain::Column::Guid, domain_share::Column::DomainGuid, shares),
    )
}

fn visible(caller: &Caller) -> Query<domain::Entity> {
    match caller.permissions.visible_orgs() {
        auth::Scope::All => Query::new(),
        auth::Scope::Only { orgs, .. } => {
            let orgs: Vec<&str> = orgs.iter().map(OrgGuid::as_str).collect();
            Query::new().either(shared(), of_orgs(&orgs))
        }
    }
}

async fn find(tx: &Tx, caller: &Caller, guid: &str) -> Result<domain::Model, ApiError> {
    let row = visible(caller).eq(domain::Column::Guid, guid);
    tx.one(row).await?.ok_or_else(|| ApiError::not_found("Domain"))
}

/// The domain, if routes of this space may live under it.
pub(crate) async fn usable(tx: &Tx, guid: &str, space: &space::Model) -> Result<domain::Model, ApiError> {
    let here = Query::new()
        .either(shared(), of_orgs(&[space.org_guid.as_str()]))
        .eq(domain::Column::Guid, guid);
    let invalid = || {
        ApiError::unprocessable("Invalid domain. Ensure that the domain exists and you have access to it.")
    };
    tx.one(here).await?.ok_or_else(invalid)
}

/// Domains that routes of an organization may live under, the default first.
pub(crate) async fn all_of_org(tx: &Tx, org: &str) -> Result<Vec<domain::Model>, StoreError> {
    tx.all(Query::new().either(shared(), of_orgs(&[org]))).await
}

/// The domain that default routes get: the first shared one that is not internal.
pub(crate) async fn default(tx: &Tx, org: &str) -> Result<Option<domain::Model>, StoreError> {
    if let Some(row) = tx.one(shared().eq(domain::Column::Internal, false)).await? {
        return Ok(Some(row));
    }
    tx.one(of_orgs(&[org]).eq(domain::Column::Internal, false)).await
}

async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&["names", "organization_guids"])?;
    let mut rows = visible(&caller);
    if let Some(orgs) = query.csv("organization_guids") {
        rows = rows.any_of(domain::Column::OrgGuid, orgs);
    }
    page(&state, &query, rows).await
}

async fn list_of_org(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&["names", "organization_guids"])?;
    caller.org(&state.store.read().await?, &guid).await?;
    page(
        &state,
        &query,
        Query::new().either(shared(), of_orgs(&[guid.as_str()])),
    )
    .await
}

async fn page(
    state: &State,
    query: &ListQuery,
    mut rows: Query<domain::Entity>,
) -> Result<Json<Value>, ApiError> {
    rows = query.filter(rows, "names", domain::Column::Name);
    rows = query.common(rows, &[])?;
    let page = query.page()?;
    let tx = state.store.read().await?;
    let (rows, total) = tx.page(rows, page).await?;
    let resources = present_all(state, &tx, &rows).await?;
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
    let row = find(&tx, &caller, &guid).await?;
    Ok(Json(present_all(&state, &tx, &[row]).await?.remove(0)))
}

async fn default_of_org(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.read().await?;
    caller.org(&tx, &guid).await?;
    let row = default(&tx, &guid)
        .await?
        .ok_or_else(|| ApiError::not_found("Domain"))?;
    Ok(Json(present_all(&state, &tx, &[row]).await?.remove(0)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    #[serde(default)]
    internal: bool,
    relationships: Option<Relationships>,
    router_group: Option<Value>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Relationships {
    organization: Option<ToOne>,
    #[serde(rename = "shared_organizations")]
    _shared: Option<Value>,
}

async fn create(
    Extract(state): Extract<State>,
    caller: Caller,
    Body(body): Body<Create>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let org = body
        .relationships
        .as_ref()
        .and_then(|r| r.organization.as_ref())
        .and_then(ToOne::guid);
    let tx = state.store.write().await?;
    match org {
        None => caller.demand_admin()?,
        Some(guid) => {
            caller
                .org(&tx, guid)
                .await
                .map_err(|error| hidden_org(error, guid))?;
            let status = org_status(&tx, guid).await?;
            caller
                .permissions
                .can_write_org(&guid.into(), status)
                .map_err(|why| refuse(why, "Organization"))?;
            if !caller.identity.is_admin() {
                flag::demand(&tx, "private_domain_creation").await?;
            }
        }
    }
    if body.internal || body.router_group.is_some() {
        return Err(ApiError::unprocessable(
            "Internal and TCP domains are not supported by this version of the platform.",
        ));
    }
    let name = body.name.to_lowercase();
    check_name(&state, &tx, &name, org).await?;
    let row = domain::Model {
        id: 0,
        guid: new_guid(),
        created_at: 0,
        updated_at: 0,
        name: name.clone(),
        internal: false,
        org_guid: org.map(str::to_owned),
    };
    let taken = |error| match error {
        StoreError::Conflict { .. } => in_use(&name),
        other => other.into(),
    };
    let row = tx.insert::<domain::Entity>(row).await.map_err(taken)?;
    write_metadata(&tx, &row.guid, body.metadata.as_ref()).await?;
    let shown = present_all(&state, &tx, &[row]).await?.remove(0);
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(shown)))
}

/// What is hidden is told in the words for what does not exist.
fn hidden_org(error: ApiError, guid: &str) -> ApiError {
    match error.status() {
        StatusCode::NOT_FOUND => ApiError::unprocessable(format!(
            "Organization with guid '{guid}' does not exist or you do not have access to it."
        )),
        _ => error,
    }
}

async fn check_name(state: &State, tx: &Tx, name: &str, org: Option<&str>) -> Result<(), ApiError> {
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !l.starts_with('-')
    };
    // A last label of digits would make an address of it, and addresses are looked up before names.
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric = last.chars().all(|c| c.is_ascii_digit());
    if name.len() > 253 || !name.contains('.') || !name.split('.').all(label) || numeric {
        return Err(ApiError::unprocessable(
            "Name does not comply with RFC 1035 standards",
        ));
    }
    // A domain above or below the platform's own would let a tenant answer for it.
    let clash = |own: &str| own == name || below(own, name);
    if state.settings.platform_hosts.iter().any(|host| clash(host)) {
        return Err(ApiError::unprocessable(format!(
            "The domain name \"{name}\" is reserved for the platform"
        )));
    }
    let rows = tx.all(Query::<domain::Entity>::new()).await?;
    if rows.iter().any(|row| row.name == name) {
        return Err(in_use(name));
    }
    for row in rows {
        overlap(name, org, &row)?;
        let Some(host) = name.strip_suffix(&format!(".{}", row.name)) else {
            continue;
        };
        let routes = Query::<route::Entity>::new()
            .eq(route::Column::DomainGuid, &row.guid)
            .eq(route::Column::Host, host);
        if tx.count(routes).await? > 0 {
            return Err(ApiError::unprocessable(format!(
                "The domain name \"{name}\" cannot be created because it is used by a route"
            )));
        }
    }
    Ok(())
}

fn in_use(name: &str) -> ApiError {
    ApiError::unprocessable(format!("The domain name \"{name}\" is already in use"))
}

/// Whether a name is a subdomain of another.
fn below(name: &str, other: &str) -> bool {
    name.strip_suffix(other).is_some_and(|head| head.ends_with('.'))
}

/// A domain above somebody else's would let its owner answer for addresses of theirs; one below another organization's
/// would take names it may want. Below a shared domain there is room for all.
fn overlap(name: &str, org: Option<&str>, row: &domain::Model) -> Result<(), ApiError> {
    let foreign = row.org_guid.as_deref() != org;
    if foreign && row.org_guid.is_some() && below(&row.name, name) {
        // Whose domain it is, and what it is called, is not for everybody.
        return Err(ApiError::unprocessable(format!(
            "The domain name \"{name}\" cannot be created because a domain below it belongs to another organization"
        )));
    }
    if foreign && (below(&row.name, name) || row.org_guid.is_some() && below(name, &row.name)) {
        return Err(ApiError::unprocessable(format!(
            "The domain name \"{name}\" cannot be created because \"{}\" is already reserved by another domain",
            row.name
        )));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    metadata: Option<Metadata>,
}

async fn writable(tx: &Tx, caller: &Caller, guid: &str) -> Result<domain::Model, ApiError> {
    let row = find(tx, caller, guid).await?;
    match &row.org_guid {
        None => caller.demand_admin()?,
        Some(org) => {
            let status = org_status(tx, org).await?;
            caller
                .permissions
                .can_write_org(&org.as_str().into(), status)
                .map_err(|why| refuse(why, "Domain"))?;
        }
    }
    Ok(row)
}

async fn update(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    Body(body): Body<Update>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.write().await?;
    let row = writable(&tx, &caller, &guid).await?;
    write_metadata(&tx, &guid, body.metadata.as_ref()).await?;
    let shown = present_all(&state, &tx, &[row]).await?.remove(0);
    tx.commit().await?;
    Ok(Json(shown))
}

async fn delete(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Response, ApiError> {
    let tx = state.store.write().await?;
    writable(&tx, &caller, &guid).await?;
    tx.delete::<domain::Entity>(&guid).await?;
    let job = job::done(&tx, &caller, "domain.delete").await?;
    tx.commit().await?;
    Ok(job.response(&state))
}

async fn reservations(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&["host", "path", "port"])?;
    let tx = state.store.read().await?;
    find(&tx, &caller, &guid).await?;
    let routes = Query::<route::Entity>::new()
        .eq(route::Column::DomainGuid, &guid)
        .eq(route::Column::Host, query.text("host").unwrap_or_default())
        .eq(route::Column::Path, query.text("path").unwrap_or_default());
    Ok(Json(json!({"matching_route": tx.count(routes).await? > 0})))
}

/// The resources of these rows.
pub(crate) async fn present_all(
    state: &State,
    tx: &Tx,
    rows: &[domain::Model],
) -> Result<Vec<Value>, ApiError> {
    let guids = || rows.iter().map(|row| row.guid.as_str());
    let metadata = MetadataOf::read(tx, guids()).await?;
    let shares = Query::<domain_share::Entity>::new().any_of(domain_share::Column::DomainGuid, guids());
    let shares = tx.all(shares).await?;
    let orgs = Query::<org::Entity>::new().any_of(org::Column::Guid, shares.iter().map(|s| &s.org_guid));
    let orgs: Vec<String> = tx.all(orgs).await?.into_iter().map(|row| row.guid).collect();
    let origin = &state.settings.api_url;
    let resource = |row: &domain::Model| {
        let own = shares
            .iter()
            .filter(|s| s.domain_guid == row.guid && orgs.contains(&s.org_guid));
        json!({
            "guid": row.guid, "created_at": time(row.created_at), "updated_at": time(row.updated_at),
            "name": row.name, "internal": row.internal, "router_group": null, "supported_protocols": ["http"],
            "relationships": {
                "organization": to_one(row.org_guid.as_deref()),
                "shared_organizations": {"data": own.map(|s| json!({"guid": s.org_guid})).collect::<Vec<_>>()},
            },
            "metadata": metadata.of(&row.guid),
            "links": {
                "self": link(origin, &format!("/v3/domains/{}", row.guid)),
                "route_reservations": link(origin, &format!("/v3/domains/{}/route_reservations", row.guid)),
            },
        })
    };
    Ok(rows.iter().map(resource).collect())
}
