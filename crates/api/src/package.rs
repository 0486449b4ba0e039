//! Packages: image references with their credentials, to be staged.

use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Query, Tx, app, new_guid, package, space};

use crate::app::{DOCKER, find as find_app, target};
use crate::body::{Body, Metadata, ToOne};
use crate::caller::{Caller, Right, within_spaces};
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::list::ListQuery;
use crate::present::{MetadataOf, action, link, time, to_one, write_metadata};
use crate::{State, event, job};

const MAX_PASSWORD: usize = 5000;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v3/packages", list),
        Endpoint::post("/v3/packages", create),
        Endpoint::get("/v3/packages/{guid}", show),
        Endpoint::patch("/v3/packages/{guid}", update),
        Endpoint::delete("/v3/packages/{guid}", delete),
        Endpoint::get("/v3/apps/{guid}/packages", list_of_app),
    ]
}

/// The package, its app and space, if the caller has this right there.
pub(crate) async fn find(
    tx: &Tx,
    caller: &Caller,
    guid: &str,
    right: Right,
) -> Result<(package::Model, app::Model, space::Model), ApiError> {
    let row = tx.get::<package::Entity>(guid).await?;
    let app = tx.get::<app::Entity>(&row.app_guid).await?;
    let space = caller.demand(tx, right, &app.space_guid, "Package").await?;
    Ok((row, app, space))
}

/// Apps the caller may see, filtered as lists of things below apps are.
pub(crate) fn visible_apps(caller: &Caller, query: &ListQuery) -> Query<app::Entity> {
    let mut apps = within_spaces(
        Query::new(),
        &caller.permissions.visible_spaces(),
        app::Column::SpaceGuid,
    );
    apps = query.filter(apps, "app_guids", app::Column::Guid);
    apps = query.filter(apps, "space_guids", app::Column::SpaceGuid);
    match query.csv("organization_guids") {
        None => apps,
        Some(orgs) => {
            let spaces = Query::<space::Entity>::new().any_of(space::Column::OrgGuid, orgs);
            apps.within(app::Column::SpaceGuid, space::Column::Guid, spaces)
        }
    }
}

async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&[
        "states",
        "types",
        "app_guids",
        "space_guids",
        "organization_guids",
    ])?;
    let apps = visible_apps(&caller, &query);
    page(
        &state,
        &query,
        Query::new().within(package::Column::AppGuid, app::Column::Guid, apps),
    )
    .await
}

async fn list_of_app(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&["states", "types"])?;
    find_app(&state.store.read().await?, &caller, &guid, Right::Read).await?;
    page(&state, &query, Query::new().eq(package::Column::AppGuid, &guid)).await
}

async fn page(
    state: &State,
    query: &ListQuery,
    mut rows: Query<package::Entity>,
) -> Result<Json<Value>, ApiError> {
    rows = query.filter(rows, "states", package::Column::State);
    rows = query.filter(rows, "types", package::Column::Kind);
    rows = query.common(rows, &[])?;
    let page = query.page()?;
    let tx = state.store.read().await?;
    let (rows, total) = tx.page(rows, page).await?;
    let metadata = MetadataOf::read(&tx, rows.iter().map(|row| row.guid.as_str())).await?;
    let resources = rows.iter().map(|row| present(state, row, &metadata)).collect();
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
    let (row, _, _) = find(&tx, &caller, &guid, Right::Read).await?;
    let metadata = MetadataOf::read(&tx, [guid.as_str()]).await?;
    Ok(Json(present(&state, &row, &metadata)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    #[serde(rename = "type")]
    kind: String,
    relationships: Relationships,
    #[serde(default)]
    data: Data,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Relationships {
    app: ToOne,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    image: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

async fn create(
    Extract(state): Extract<State>,
    caller: Caller,
    Body(body): Body<Create>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let tx = state.store.write().await?;
    let app_guid = body.relationships.app.guid().unwrap_or_default();
    let invalid = || ApiError::unprocessable("App is invalid. Ensure it exists and you have access to it.");
    let (app, space) = match find_app(&tx, &caller, app_guid, Right::Write).await {
        Err(error) if error.status() == StatusCode::NOT_FOUND => return Err(invalid()),
        other => other?,
    };
    check_kind(&body.kind, &app.lifecycle)?;
    let guid = new_guid();
    let image = if body.kind == "docker" {
        image_of(body.data.image.as_deref())?
    } else {
        String::new()
    };
    let password = body
        .data
        .password
        .map(|p| seal_password(&state, &guid, &p))
        .transpose()?;
    let row = package::Model {
        id: 0,
        guid,
        created_at: 0,
        updated_at: 0,
        app_guid: app.guid.clone(),
        state: if body.kind == "docker" {
            "READY"
        } else {
            "AWAITING_UPLOAD"
        }
        .to_owned(),
        kind: body.kind,
        image,
        username: body.data.username,
        password_sealed: password,
        error: None,
    };
    let row = tx.insert::<package::Entity>(row).await?;
    write_metadata(&tx, &row.guid, body.metadata.as_ref()).await?;
    let data = json!({"package_guid": row.guid, "request": {"type": row.kind, "data": {"image": row.image}}});
    event::record(
        &tx,
        &caller,
        "audit.app.package.create",
        target(&app, &space),
        data,
    )
    .await?;
    let metadata = MetadataOf::read(&tx, [row.guid.as_str()]).await?;
    let shown = present(&state, &row, &metadata);
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(shown)))
}

fn check_kind(kind: &str, lifecycle: &str) -> Result<(), ApiError> {
    let text = match (kind, lifecycle) {
        ("docker", DOCKER) | ("bits", "buildpack" | "cnb") => return Ok(()),
        ("docker", _) => "Cannot create Docker package for a buildpack app.",
        ("bits", _) => "Cannot create bits package for a Docker app.",
        _ => "Type must be one of 'bits, docker'",
    };
    Err(ApiError::unprocessable(text))
}

/// Checks an image reference and brings it to the form that is kept. Texts:
/// cloudfoundry/cloud_controller_ng:lib/utils/uri_utils.rb.
fn image_of(image: Option<&str>) -> Result<String, ApiError> {
    let image = image
        .filter(|i| !i.is_empty())
        .ok_or_else(|| ApiError::unprocessable("Data Image required"))?;
    let bare = image.strip_prefix("docker://").unwrap_or(image);
    if bare.contains("://") {
        return Err(ApiError::unprocessable(format!(
            "Docker URI [{image}] should not contain scheme"
        )));
    }
    let (rest, digest) = bare
        .split_once('@')
        .map_or((bare, None), |(rest, digest)| (rest, Some(digest)));
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    let host_ok = |c: char| c.is_ascii_alphanumeric() || "_-./:".contains(c);
    let path = name
        .split_once('/')
        .filter(|(h, _)| h.contains(['.', ':']) || *h == "localhost")
        .map_or(name, |(_, p)| p);
    let path_ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-./".contains(c);
    if path.is_empty() || name.len() > 255 || !name.chars().all(host_ok) || !path.chars().all(path_ok) {
        return Err(ApiError::unprocessable(format!("Invalid image name [{name}]")));
    }
    let tag_ok = |t: &str| {
        (1..=128).contains(&t.len()) && t.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
    };
    if let Some(tag) = tag.filter(|tag| !tag_ok(tag)) {
        return Err(ApiError::unprocessable(format!("Invalid image tag [{tag}]")));
    }
    if let Some(digest) = digest.filter(|digest| digest.parse::<model::Digest>().is_err()) {
        return Err(ApiError::unprocessable(format!(
            "Invalid image digest [{digest}]"
        )));
    }
    Ok(bare.to_owned())
}

fn seal_password(state: &State, guid: &str, password: &str) -> Result<String, ApiError> {
    if password.len() > MAX_PASSWORD {
        return Err(ApiError::unprocessable(
            "Data Password is too long (maximum is 5000 characters)",
        ));
    }
    Ok(state.sealer.seal(password, guid))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    metadata: Option<Metadata>,
    username: Option<String>,
    password: Option<String>,
}

async fn update(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    Body(body): Body<Update>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.write().await?;
    let (mut row, _, _) = find(&tx, &caller, &guid, Right::Write).await?;
    if body.username.is_some() {
        row.username = body.username;
    }
    if let Some(password) = body.password {
        row.password_sealed = Some(seal_password(&state, &guid, &password)?);
    }
    let row = tx.update::<package::Entity>(row).await?;
    write_metadata(&tx, &guid, body.metadata.as_ref()).await?;
    let metadata = MetadataOf::read(&tx, [guid.as_str()]).await?;
    tx.commit().await?;
    Ok(Json(present(&state, &row, &metadata)))
}

async fn delete(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Response, ApiError> {
    let tx = state.store.write().await?;
    let (_, app, space) = find(&tx, &caller, &guid, Right::Write).await?;
    tx.delete::<package::Entity>(&guid).await?;
    event::record(
        &tx,
        &caller,
        "audit.app.package.delete",
        target(&app, &space),
        json!({"package_guid": guid}),
    )
    .await?;
    let job = job::done(&tx, &caller, "package.delete").await?;
    tx.commit().await?;
    Ok(job.response(&state))
}

fn present(state: &State, row: &package::Model, metadata: &MetadataOf) -> Value {
    let origin = &state.settings.api_url;
    let path = format!("/v3/packages/{}", row.guid);
    let data = if row.kind == "docker" {
        let password = row.password_sealed.as_ref().map(|_| "***");
        json!({"image": row.image, "username": row.username, "password": password})
    } else {
        json!({"error": row.error, "checksum": {"type": "sha256", "value": null}})
    };
    json!({
        "guid": row.guid, "created_at": time(row.created_at), "updated_at": time(row.updated_at),
        "type": row.kind, "state": row.state, "data": data,
        "relationships": {"app": to_one(Some(&row.app_guid))},
        "metadata": metadata.of(&row.guid),
        "links": {
            "self": link(origin, &path),
            "stage": action(origin, "/v3/builds", "POST"),
            "app": link(origin, &format!("/v3/apps/{}", row.app_guid)),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::image_of;

    #[test]
    fn references_are_checked_early() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for good in [
            "nginx",
            "a/b:1.4",
            "localhost:5000/shop",
            "r.example/x/y:T-1",
            &format!("x@{digest}"),
            &format!("x:1@{digest}"),
        ] {
            assert_eq!(image_of(Some(good)).unwrap(), good);
        }
        assert_eq!(image_of(Some("docker://r.example/x")).unwrap(), "r.example/x");
        for (bad, text) in [
            (
                "https://x/y",
                "Docker URI [https://x/y] should not contain scheme",
            ),
            ("Bad Name", "Invalid image name [Bad Name]"),
            ("UPPER/case", "Invalid image name [UPPER/case]"),
            ("x:ta!g", "Invalid image tag [ta!g]"),
            ("x@sha256:1", "Invalid image digest [sha256:1]"),
            ("", "Data Image required"),
        ] {
            assert_eq!(
                image_of(Some(bad)).unwrap_err().details().next(),
                Some(text),
                "{bad}"
            );
        }
    }
}
