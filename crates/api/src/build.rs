//! Builds: staging of a package. The API records the wish; the scheduler stages.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Query, Tx, app, build, new_guid, package};

use crate::app::{DOCKER, Lifecycle, find as find_app, lifecycle, target};
use crate::body::{Body, Guid, Metadata};
use crate::caller::{Caller, Right};
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::list::ListQuery;
use crate::package::{find as find_package, visible_apps};
use crate::present::{MetadataOf, link, time, to_one, write_metadata};
use crate::{State, event, flag, notice};

/// State of a build that is under way.
pub const STAGING: &str = "STAGING";
/// How long a look at a build under way may be held for its outcome.
const HOLD: Duration = Duration::from_secs(2);

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v3/builds", list),
        Endpoint::post("/v3/builds", create),
        Endpoint::get("/v3/builds/{guid}", show),
        Endpoint::patch("/v3/builds/{guid}", update),
        Endpoint::get("/v3/apps/{guid}/builds", list_of_app),
    ]
}

async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&[
        "states",
        "app_guids",
        "package_guids",
        "space_guids",
        "organization_guids",
    ])?;
    let apps = visible_apps(&caller, &query);
    page(
        &state,
        &query,
        Query::new().within(build::Column::AppGuid, app::Column::Guid, apps),
    )
    .await
}

async fn list_of_app(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&["states"])?;
    find_app(&state.store.read().await?, &caller, &guid, Right::Read).await?;
    page(&state, &query, Query::new().eq(build::Column::AppGuid, &guid)).await
}

async fn page(
    state: &State,
    query: &ListQuery,
    mut rows: Query<build::Entity>,
) -> Result<Json<Value>, ApiError> {
    rows = query.filter(rows, "states", build::Column::State);
    rows = query.filter(rows, "package_guids", build::Column::PackageGuid);
    rows = query.common(rows, &[])?;
    let page = query.page()?;
    let tx = state.store.read().await?;
    let (rows, total) = tx.page(rows, page).await?;
    let mut resources = Vec::new();
    for row in &rows {
        resources.push(present(state, &tx, row).await?);
    }
    Ok(Json(query.envelope(
        &state.settings.api_url,
        page,
        total,
        resources,
    )))
}

async fn find(tx: &Tx, caller: &Caller, guid: &str, right: Right) -> Result<build::Model, ApiError> {
    let row = tx.get::<build::Entity>(guid).await?;
    let app = tx.get::<app::Entity>(&row.app_guid).await?;
    caller.demand(tx, right, &app.space_guid, "Build").await?;
    Ok(row)
}

async fn show(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut feed = state.store.feed();
    let deadline = tokio::time::Instant::now() + HOLD;
    loop {
        feed.mark_unchanged();
        let tx = state.store.read().await?;
        let row = find(&tx, &caller, &guid, Right::Read).await?;
        let shown = present(&state, &tx, &row).await?;
        drop(tx);
        if row.state != STAGING || tokio::time::timeout_at(deadline, feed.changed()).await.is_err() {
            return Ok(Json(shown));
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    package: Guid,
    lifecycle: Option<Lifecycle>,
    staging_memory_in_mb: Option<i64>,
    staging_disk_in_mb: Option<i64>,
    staging_log_rate_limit_bytes_per_second: Option<i64>,
    metadata: Option<Metadata>,
}

async fn create(
    Extract(state): Extract<State>,
    caller: Caller,
    Body(body): Body<Create>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let tx = state.store.write().await?;
    let invalid = || {
        ApiError::unprocessable(
            "Unable to use package. Ensure that the package exists and you have access to it.",
        )
    };
    let (package, app, space) = match find_package(&tx, &caller, &body.package.guid, Right::ManageApps).await
    {
        Err(error) if error.status() == StatusCode::NOT_FOUND => return Err(invalid()),
        other => other?,
    };
    if body
        .lifecycle
        .as_ref()
        .is_some_and(|lifecycle| lifecycle.kind != app.lifecycle)
    {
        return Err(ApiError::unprocessable(
            "Lifecycle type must match the app's lifecycle",
        ));
    }
    if app.lifecycle == DOCKER {
        flag::demand(&tx, "diego_docker").await?;
    }
    check_package(&package)?;
    one_at_a_time(&tx, &app).await?;
    let _unlimited = body.staging_log_rate_limit_bytes_per_second;
    let row = build::Model {
        id: 0,
        guid: new_guid(),
        created_at: 0,
        updated_at: 0,
        app_guid: app.guid.clone(),
        package_guid: package.guid.clone(),
        droplet_guid: None,
        state: STAGING.to_owned(),
        error: None,
        memory_mb: body.staging_memory_in_mb.unwrap_or(1024),
        disk_mb: body.staging_disk_in_mb.unwrap_or(4096),
        created_by_guid: caller.identity.guid().as_str().to_owned(),
        created_by_name: caller.identity.name().to_owned(),
    };
    let row = tx.insert::<build::Entity>(row).await?;
    write_metadata(&tx, &row.guid, body.metadata.as_ref()).await?;
    let data = json!({"build_guid": row.guid, "package_guid": package.guid});
    event::record(&tx, &caller, "audit.app.build.create", target(&app, &space), data).await?;
    let shown = present(&state, &tx, &row).await?;
    // Before the commit, so that the line precedes those of the stager.
    notice::api(
        &state,
        &app.guid,
        format!("Creating build for app with guid {}", app.guid),
    );
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(shown)))
}

async fn one_at_a_time(tx: &Tx, app: &app::Model) -> Result<(), ApiError> {
    let busy = Query::<build::Entity>::new()
        .eq(build::Column::AppGuid, &app.guid)
        .eq(build::Column::State, STAGING);
    if tx.count(busy).await? > 0 {
        let text = "Only one build can be STAGING at a time per application.";
        return Err(ApiError::unprocessable_as(170_017, "CF-StagingInProgress", text));
    }
    Ok(())
}

fn check_package(package: &package::Model) -> Result<(), ApiError> {
    if package.state == "READY" {
        Ok(())
    } else {
        Err(ApiError::bad_request(
            "Cannot stage package whose state is not ready.",
        ))
    }
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
    let row = find(&tx, &caller, &guid, Right::Write).await?;
    write_metadata(&tx, &guid, body.metadata.as_ref()).await?;
    let shown = present(&state, &tx, &row).await?;
    tx.commit().await?;
    Ok(Json(shown))
}

async fn present(state: &State, tx: &Tx, row: &build::Model) -> Result<Value, ApiError> {
    let origin = &state.settings.api_url;
    let app = tx.get::<app::Entity>(&row.app_guid).await?;
    let metadata = MetadataOf::read(tx, [row.guid.as_str()]).await?;
    let droplet = row.droplet_guid.as_ref();
    let mut links = json!({
        "self": link(origin, &format!("/v3/builds/{}", row.guid)),
        "app": link(origin, &format!("/v3/apps/{}", row.app_guid)),
    });
    if let Some(guid) = droplet {
        links["droplet"] = link(origin, &format!("/v3/droplets/{guid}"));
    }
    Ok(json!({
        "guid": row.guid, "created_at": time(row.created_at), "updated_at": time(row.updated_at),
        "state": row.state, "error": row.error, "lifecycle": lifecycle(&app.lifecycle),
        "staging_memory_in_mb": row.memory_mb, "staging_disk_in_mb": row.disk_mb,
        "package": {"guid": row.package_guid}, "droplet": droplet.map(|guid| json!({"guid": guid})),
        "created_by": {"guid": row.created_by_guid, "name": row.created_by_name, "email": row.created_by_name},
        "relationships": {"app": to_one(Some(&row.app_guid))},
        "metadata": metadata.of(&row.guid), "links": links,
    }))
}
