//! Routes: addresses that lead to apps.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Query, StoreError, Tx, app, destination, domain, org, route, space};

use crate::body::{Body, Metadata, ToOne};
use crate::caller::{Caller, Right, within_spaces};
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::event::{self, Target};
use crate::list::ListQuery;
use crate::present::{MetadataOf, link, time, to_one, with_included, write_metadata};
use crate::route_rules::{Draft, insert, options_text};
use crate::{State, destination as destinations, job};

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
    let draft = Draft {
        space: &space,
        domain: &domain,
        host: body.host.unwrap_or_default(),
        path: body.path.unwrap_or_default(),
        options: options_text(&BTreeMap::new(), body.options)?,
    };
    let row = insert(&state, &tx, &caller, draft).await?;
    write_metadata(&tx, &row.guid, body.metadata.as_ref()).await?;
    let shown = present_one(&state, &tx, &row).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(shown)))
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
