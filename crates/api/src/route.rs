//! Routes: addresses that lead to apps.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Query, StoreError, Tx, app, destination, domain, new_guid, org, route, space};

use crate::body::{Body, Metadata, ToOne};
use crate::caller::{Caller, Right, within_spaces};
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::event::{self, Target};
use crate::list::ListQuery;
use crate::present::{MetadataOf, link, time, to_one, with_included, write_metadata};
use crate::{State, destination as destinations, flag, job};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v3/routes", list),
        Endpoint::post("/v3/routes", create),
        Endpoint::get("/v3/routes/{guid}", show),
        Endpoint::patch("/v3/routes/{guid}", update),
        Endpoint::delete("/v3/routes/{guid}", delete),
        Endpoint::get("/v3/apps/{guid}/routes", list_of_app),
    ]
}

/// `host.domain/path`.
pub fn url(row: &route::Model, domain: &str) -> String {
    let dot = if row.host.is_empty() { "" } else { "." };
    format!("{}{dot}{domain}{}", row.host, row.path)
}

/// The route and its space, if the caller has this right there.
pub(crate) async fn find(
    tx: &Tx,
    caller: &Caller,
    guid: &str,
    right: Right,
) -> Result<(route::Model, space::Model), ApiError> {
    let row = tx.get::<route::Entity>(guid).await?;
    let space = caller.demand(tx, right, &row.space_guid, "Route").await?;
    Ok((row, space))
}

async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let known = [
        "hosts",
        "paths",
        "ports",
        "domain_guids",
        "space_guids",
        "organization_guids",
        "app_guids",
        "service_instance_guids",
        "include",
    ];
    let query = query.allow(&known)?;
    let mut rows = within_spaces(
        Query::<route::Entity>::new(),
        &caller.permissions.visible_routes(),
        route::Column::SpaceGuid,
    );
    rows = query.filter(rows, "space_guids", route::Column::SpaceGuid);
    if let Some(orgs) = query.csv("organization_guids") {
        let spaces = Query::<space::Entity>::new().any_of(space::Column::OrgGuid, orgs);
        rows = rows.within(route::Column::SpaceGuid, space::Column::Guid, spaces);
    }
    if let Some(apps) = query.csv("app_guids") {
        let mapped = Query::<destination::Entity>::new().any_of(destination::Column::AppGuid, apps);
        rows = rows.within(route::Column::Guid, destination::Column::RouteGuid, mapped);
    }
    page(&state, &query, rows).await
}

async fn list_of_app(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&["hosts", "paths", "ports", "domain_guids", "include"])?;
    crate::app::find(&state.store.read().await?, &caller, &guid, Right::Read).await?;
    let mapped = Query::<destination::Entity>::new().eq(destination::Column::AppGuid, &guid);
    page(
        &state,
        &query,
        Query::new().within(route::Column::Guid, destination::Column::RouteGuid, mapped),
    )
    .await
}

async fn page(
    state: &State,
    query: &ListQuery,
    mut rows: Query<route::Entity>,
) -> Result<Json<Value>, ApiError> {
    let includes = query.includes(&["domain", "space", "space.organization"])?;
    rows = query.filter(rows, "hosts", route::Column::Host);
    rows = query.filter(rows, "paths", route::Column::Path);
    rows = query.filter(rows, "domain_guids", route::Column::DomainGuid);
    let never = |key: &str| {
        query
            .csv(key)
            .is_some_and(|values| values.iter().any(|value| !value.is_empty()))
    };
    if never("ports") || never("service_instance_guids") {
        // HTTP routes have no port, and no route is bound to a service.
        rows = rows.any_of(route::Column::Guid, Vec::<String>::new());
    }
    rows = query.common(rows, &[])?;
    let page = query.page()?;
    let tx = state.store.read().await?;
    let (rows, total) = tx.page(rows, page).await?;
    let resources = present_all(state, &tx, &rows).await?;
    let body = query.envelope(&state.settings.api_url, page, total, resources);
    Ok(Json(include(state, &tx, &rows, &includes, body).await?))
}

async fn include(
    state: &State,
    tx: &Tx,
    rows: &[route::Model],
    wanted: &[String],
    body: Value,
) -> Result<Value, ApiError> {
    let mut included = BTreeMap::new();
    let wants = |name: &str| wanted.iter().any(|wanted| wanted == name);
    if wants("domain") {
        let domains = Query::<domain::Entity>::new()
            .any_of(domain::Column::Guid, rows.iter().map(|row| &row.domain_guid));
        included.insert(
            "domains",
            crate::domain::present_all(state, tx, &tx.all(domains).await?).await?,
        );
    }
    if wants("space") || wants("space.organization") {
        let spaces =
            Query::<space::Entity>::new().any_of(space::Column::Guid, rows.iter().map(|row| &row.space_guid));
        let spaces = tx.all(spaces).await?;
        included.insert("spaces", crate::space::present_all(state, tx, &spaces).await?);
        if wants("space.organization") {
            let orgs =
                Query::<org::Entity>::new().any_of(org::Column::Guid, spaces.iter().map(|s| &s.org_guid));
            included.insert(
                "organizations",
                crate::org::present_all(state, tx, &tx.all(orgs).await?).await?,
            );
        }
    }
    Ok(with_included(body, included))
}

async fn show(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let includes = query
        .allow(&["include"])?
        .includes(&["domain", "space", "space.organization"])?;
    let tx = state.store.read().await?;
    let (row, _) = find(&tx, &caller, &guid, Right::ReadRoutes).await?;
    let body = present_one(&state, &tx, &row).await?;
    Ok(Json(
        include(&state, &tx, std::slice::from_ref(&row), &includes, body).await?,
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    host: Option<String>,
    path: Option<String>,
    port: Option<i64>,
    relationships: Relationships,
    options: Option<BTreeMap<String, Option<String>>>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Relationships {
    space: ToOne,
    domain: ToOne,
}

async fn create(
    Extract(state): Extract<State>,
    caller: Caller,
    Body(body): Body<Create>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let tx = state.store.write().await?;
    let invalid_space =
        || ApiError::unprocessable("Invalid space. Ensure that the space exists and you have access to it.");
    let space = match caller
        .demand(
            &tx,
            Right::Write,
            body.relationships.space.guid().unwrap_or_default(),
            "Space",
        )
        .await
    {
        Err(error) if error.status() == StatusCode::NOT_FOUND => return Err(invalid_space()),
        other => other?,
    };
    let domain =
        crate::domain::usable(&tx, body.relationships.domain.guid().unwrap_or_default(), &space).await?;
    if body.port.is_some() {
        return Err(ApiError::unprocessable(
            "Ports are not supported for HTTP routes.",
        ));
    }
    let address = Address {
        host: body.host.unwrap_or_default(),
        path: body.path.unwrap_or_default(),
        options: options_text(&BTreeMap::new(), body.options)?,
    };
    let row = insert(&state, &tx, &caller, &space, &domain, address).await?;
    write_metadata(&tx, &row.guid, body.metadata.as_ref()).await?;
    let shown = present_one(&state, &tx, &row).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(shown)))
}

/// Host and path of a route to be made.
#[derive(Debug, Default)]
pub(crate) struct Address {
    /// Empty for the domain itself.
    pub host: String,
    /// Empty, or with a leading slash.
    pub path: String,
    /// JSON object.
    pub options: String,
}

/// Makes a route after checking its form, that nobody has it, and that nobody else's hides behind it.
pub(crate) async fn insert(
    state: &State,
    tx: &Tx,
    caller: &Caller,
    space: &space::Model,
    domain: &domain::Model,
    address: Address,
) -> Result<route::Model, ApiError> {
    if !caller.identity.is_admin() {
        flag::demand(tx, "route_creation").await?;
    }
    let host = address.host.to_lowercase();
    check_host(&host, domain)?;
    check_path(&address.path)?;
    reserved(state, &host, domain)?;
    let row = route::Model {
        id: 0,
        guid: new_guid(),
        created_at: 0,
        updated_at: 0,
        host,
        path: address.path.trim_end_matches('/').to_owned(),
        domain_guid: domain.guid.clone(),
        space_guid: space.guid.clone(),
        options: if address.options.is_empty() {
            "{}".to_owned()
        } else {
            address.options
        },
    };
    foreign_host(tx, &row).await?;
    let (host, path) = (row.host.clone(), row.path.clone());
    let row = tx
        .insert::<route::Entity>(row)
        .await
        .map_err(|error| taken(error, &host, &path, &domain.name))?;
    let name = url(&row, &domain.name);
    let target = Target {
        kind: "route",
        guid: &row.guid,
        name: &name,
        space_guid: Some(&space.guid),
        org_guid: Some(&space.org_guid),
    };
    event::record(
        tx,
        caller,
        "audit.route.create",
        target,
        json!({"request": {"url": name}}),
    )
    .await?;
    Ok(row)
}

/// A host that another space serves at any path belongs to that space: else a path route could take over part of a
/// neighbour's app.
async fn foreign_host(tx: &Tx, row: &route::Model) -> Result<(), ApiError> {
    let others = Query::<route::Entity>::new()
        .eq(route::Column::DomainGuid, &row.domain_guid)
        .eq(route::Column::Host, &row.host)
        .ne(route::Column::SpaceGuid, &row.space_guid);
    if tx.count(others).await? > 0 && !row.path.is_empty() {
        let text = "Routes for this host and domain have been reserved for another space.";
        return Err(ApiError::unprocessable(text));
    }
    Ok(())
}

/// Hosts of the platform itself are nobody's.
fn reserved(state: &State, host: &str, domain: &domain::Model) -> Result<(), ApiError> {
    let whole = if host.is_empty() {
        domain.name.clone()
    } else {
        format!("{host}.{}", domain.name)
    };
    if state.settings.platform_hosts.contains(&whole) {
        return Err(ApiError::unprocessable(format!(
            "Host {whole} is reserved for the platform."
        )));
    }
    Ok(())
}

fn taken(error: StoreError, host: &str, path: &str, domain: &str) -> ApiError {
    match error {
        StoreError::Conflict { .. } if host.is_empty() && path.is_empty() => {
            ApiError::unprocessable(format!("Route already exists for domain '{domain}'."))
        }
        StoreError::Conflict { .. } if path.is_empty() => ApiError::unprocessable(format!(
            "Route already exists with host '{host}' for domain '{domain}'."
        )),
        StoreError::Conflict { .. } => ApiError::unprocessable(format!(
            "Route already exists with host '{host}' and path '{path}' for domain '{domain}'."
        )),
        other => other.into(),
    }
}

fn check_host(host: &str, domain: &domain::Model) -> Result<(), ApiError> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let wildcard = host == "*";
    if host.is_empty() {
        // A shared domain is everybody's: only a host makes an address on it one's own.
        return match domain.org_guid {
            Some(_) => Ok(()),
            None => Err(ApiError::unprocessable(
                "Missing host. Routes in shared domains must have a host defined.",
            )),
        };
    }
    if wildcard && domain.internal {
        return Err(ApiError::unprocessable(
            "Wildcard hosts are not supported for internal domains.",
        ));
    }
    if !wildcard && !host.split('.').all(label) {
        return Err(ApiError::unprocessable(
            "Host must be either \"*\" or contain only alphanumeric characters, \"_\", or \"-\"",
        ));
    }
    if host.len() + domain.name.len() + 1 > 253 {
        return Err(ApiError::unprocessable(
            "Host combined with domain name must be no more than 253 characters.",
        ));
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), ApiError> {
    if path.is_empty() {
        return Ok(());
    }
    let refuse = |text: &str| Err(ApiError::unprocessable(text));
    match path {
        "/" => refuse("Path cannot be a single slash"),
        _ if !path.starts_with('/') => refuse("Path must begin with a slash"),
        _ if path.contains('?') => refuse("Path cannot contain a question mark"),
        _ if path.len() > 128 => refuse("Path must be no more than 128 characters"),
        _ if !path.chars().all(|c| c.is_ascii_graphic()) => refuse("Path is invalid"),
        _ => Ok(()),
    }
}

fn options_text(
    before: &BTreeMap<String, String>,
    change: Option<BTreeMap<String, Option<String>>>,
) -> Result<String, ApiError> {
    let mut options = before.clone();
    for (name, value) in change.unwrap_or_default() {
        match value {
            None => _ = options.remove(&name),
            Some(value)
                if name == "loadbalancing"
                    && ["round-robin", "least-connection"].contains(&value.as_str()) =>
            {
                options.insert(name, value);
            }
            Some(value) if name == "loadbalancing" => {
                let text =
                    format!("Loadbalancing '{value}' is not supported; use round-robin or least-connection");
                return Err(ApiError::unprocessable(text));
            }
            Some(_) => {
                return Err(ApiError::unprocessable(format!(
                    "Options Unknown field(s): '{name}'"
                )));
            }
        }
    }
    Ok(json!(options).to_string())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    options: Option<BTreeMap<String, Option<String>>>,
    metadata: Option<Metadata>,
}

async fn update(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    Body(body): Body<Update>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.write().await?;
    let (mut row, _) = find(&tx, &caller, &guid, Right::Write).await?;
    let before: BTreeMap<String, String> = serde_json::from_str(&row.options).unwrap_or_default();
    row.options = options_text(&before, body.options)?;
    let row = tx.update::<route::Entity>(row).await?;
    write_metadata(&tx, &guid, body.metadata.as_ref()).await?;
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
    let domain = tx.get::<domain::Entity>(&row.domain_guid).await?;
    let name = url(&row, &domain.name);
    let target = Target {
        kind: "route",
        guid: &guid,
        name: &name,
        space_guid: Some(&space.guid),
        org_guid: Some(&space.org_guid),
    };
    event::record(
        &tx,
        &caller,
        "audit.route.delete-request",
        target,
        json!({"request": {"recursive": true}}),
    )
    .await?;
    tx.delete::<route::Entity>(&guid).await?;
    let job = job::done(&tx, &caller, "route.delete").await?;
    tx.commit().await?;
    Ok(job.response(&state))
}

async fn present_one(state: &State, tx: &Tx, row: &route::Model) -> Result<Value, ApiError> {
    Ok(present_all(state, tx, std::slice::from_ref(row)).await?.remove(0))
}

async fn present_all(state: &State, tx: &Tx, rows: &[route::Model]) -> Result<Vec<Value>, ApiError> {
    let guids = || rows.iter().map(|row| row.guid.as_str());
    let metadata = MetadataOf::read(tx, guids()).await?;
    let domains =
        Query::<domain::Entity>::new().any_of(domain::Column::Guid, rows.iter().map(|row| &row.domain_guid));
    let domains: BTreeMap<String, String> = tx
        .all(domains)
        .await?
        .into_iter()
        .map(|d| (d.guid, d.name))
        .collect();
    let mapped = Query::<destination::Entity>::new().any_of(destination::Column::RouteGuid, guids());
    let mapped = tx.all(mapped).await?;
    let exposed = destinations::default_ports(tx, &mapped).await?;
    let origin = &state.settings.api_url;
    let resource = |row: &route::Model| {
        let path = format!("/v3/routes/{}", row.guid);
        let own = mapped.iter().filter(|d| d.route_guid == row.guid);
        let domain = domains
            .get(&row.domain_guid)
            .map(String::as_str)
            .unwrap_or_default();
        json!({
            "guid": row.guid, "created_at": time(row.created_at), "updated_at": time(row.updated_at),
            "host": row.host, "path": row.path, "port": null, "protocol": "http", "url": url(row, domain),
            "destinations": own.map(|d| destinations::present(d, &exposed)).collect::<Vec<_>>(),
            "options": serde_json::from_str::<Value>(&row.options).unwrap_or_else(|_| json!({})),
            "relationships": {"space": to_one(Some(&row.space_guid)), "domain": to_one(Some(&row.domain_guid))},
            "metadata": metadata.of(&row.guid),
            "links": {
                "self": link(origin, &path),
                "space": link(origin, &format!("/v3/spaces/{}", row.space_guid)),
                "domain": link(origin, &format!("/v3/domains/{}", row.domain_guid)),
                "destinations": link(origin, &format!("{path}/destinations")),
            },
        })
    };
    Ok(rows.iter().map(resource).collect())
}

/// Whether an app has any route.
pub(crate) async fn has_any(tx: &Tx, app: &app::Model) -> Result<bool, StoreError> {
    Ok(tx
        .count(Query::<destination::Entity>::new().eq(destination::Column::AppGuid, &app.guid))
        .await?
        > 0)
}
