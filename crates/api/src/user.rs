//! Users as the API knows them. The identity server keeps the accounts; the API lists those it was told of, by
//! `POST /v3/users` or by a role given by name. An account without an origin stands for a client, so that clients can
//! hold roles too.

use auth::Scope;
use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use model::OrgGuid;
use serde::Deserialize;
use serde_json::{Value, json};
use store::user::{Column, Entity, Model};
use store::{Query, Tx, role};

use crate::State;
use crate::body::{Body, Metadata};
use crate::caller::Caller;
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::job;
use crate::list::ListQuery;
use crate::present::{MetadataOf, clear_metadata, link, time, write_metadata};

/// The origin of the platform's own users.
const OWN_ORIGIN: &str = "uaa";
/// The user every installation has; the identity server makes it.
const OPERATOR: &str = "admin";

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v3/users", list),
        Endpoint::post("/v3/users", create),
        Endpoint::get("/v3/users/{guid}", show),
        Endpoint::patch("/v3/users/{guid}", update),
        Endpoint::delete("/v3/users/{guid}", delete),
    ]
}

/// Name to show: a client has none but its id.
pub(crate) fn presentation_name(row: &Model) -> &str {
    if row.origin.is_empty() {
        &row.guid
    } else {
        &row.username
    }
}

/// Users the caller may see: oneself, and who holds a role in an organization one sees.
fn visible(caller: &Caller) -> Query<Entity> {
    let known = Query::<Entity>::new().eq(Column::KnownToApi, true);
    match caller.permissions.visible_orgs() {
        Scope::All => known,
        Scope::Only { orgs, .. } => {
            let held =
                Query::<role::Entity>::new().any_of(role::Column::OrgGuid, orgs.iter().map(OrgGuid::as_str));
            known.either(
                Query::guid(caller.identity.guid().as_str()),
                Query::new().within(Column::Guid, role::Column::UserGuid, held),
            )
        }
    }
}

/// The user, if the caller may see it.
pub(crate) async fn find(tx: &Tx, caller: &Caller, guid: &str) -> Result<Option<Model>, ApiError> {
    Ok(tx.one(visible(caller).eq(Column::Guid, guid)).await?)
}

/// Accounts of this name, whether or not the API knows them; of all origins or of one.
pub(crate) async fn named(tx: &Tx, name: &str, origin: Option<&str>) -> Result<Option<Model>, ApiError> {
    let mut rows = Query::<Entity>::new()
        .eq(Column::Username, name)
        .ne(Column::Origin, "");
    if let Some(origin) = origin {
        rows = rows.eq(Column::Origin, origin);
    }
    Ok(tx.one(rows).await?)
}

/// From now on the API lists this user.
pub(crate) async fn make_known(tx: &Tx, row: Model) -> Result<Model, ApiError> {
    if row.known_to_api {
        return Ok(row);
    }
    let known_to_api = true;
    Ok(tx.update::<Entity>(Model { known_to_api, ..row }).await?)
}

async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&["usernames", "partial_usernames", "origins"])?;
    let partial = query.csv("partial_usernames");
    match (query.text("usernames"), &partial, query.text("origins")) {
        (Some(_), Some(_), _) => {
            return Err(ApiError::bad_query(
                "Only one of usernames and partial_usernames can be given",
            ));
        }
        (None, None, Some(_)) => {
            return Err(ApiError::bad_query(
                "Origins filter cannot be provided without usernames or partial_usernames filter.",
            ));
        }
        _ => {}
    }
    let mut rows = visible(&caller);
    rows = query.filter(rows, "usernames", Column::Username);
    rows = query.filter(rows, "origins", Column::Origin);
    if query.text("usernames").is_some() {
        // A client's id is no username.
        rows = rows.ne(Column::Origin, "");
    }
    if let Some(parts) = partial {
        let mut any = Query::new().any_of(Column::Guid, Vec::<String>::new());
        for part in parts {
            let one = Query::new()
                .contains(Column::Username, &part)
                .ne(Column::Origin, "");
            any = Query::new().either(any, one);
        }
        rows = rows.either(any.clone(), any);
    }
    rows = query.common(rows, &[])?;
    let page = query.page()?;
    let tx = state.store.read().await?;
    let (rows, total) = tx.page(rows, page).await?;
    let resources = present_all(&state, &tx, &rows).await?;
    let origin = &state.settings.api_url;
    Ok(Json(query.envelope(origin, page, total, resources)))
}

async fn show(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.read().await?;
    let row = find(&tx, &caller, &guid).await?;
    let row = row.ok_or_else(|| ApiError::not_found("User"))?;
    Ok(Json(present_one(&state, &tx, &row).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    guid: Option<String>,
    username: Option<String>,
    origin: Option<String>,
    metadata: Option<Metadata>,
}

async fn create(
    Extract(state): Extract<State>,
    caller: Caller,
    Body(body): Body<Create>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    caller.demand_admin()?;
    let guid = wanted_guid(&body)?;
    let tx = state.store.write().await?;
    let row = match tx.find::<Entity>(&guid).await? {
        Some(row) if row.known_to_api => {
            let text = format!("User with guid '{guid}' already exists.");
            return Err(ApiError::unprocessable(text));
        }
        Some(row) => make_known(&tx, row).await?,
        None => tx.insert::<Entity>(client_account(guid)).await?,
    };
    write_metadata(&tx, &row.guid, body.metadata.as_ref()).await?;
    let shown = present_one(&state, &tx, &row).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(shown)))
}

fn wanted_guid(body: &Create) -> Result<String, ApiError> {
    match (&body.guid, &body.username) {
        (Some(_), Some(_)) => Err(ApiError::unprocessable(
            "Username cannot be provided with guid. Give one of them.",
        )),
        (None, Some(_)) if body.origin.as_deref() == Some(OWN_ORIGIN) => Err(ApiError::unprocessable(
            "Origin cannot be 'uaa' when creating a user by username",
        )),
        (None, Some(_)) => Err(ApiError::unprocessable(
            "Users cannot be created by username: this platform has the origin 'uaa' only. Create the account first",
        )),
        (Some(guid), None) if !(1..=200).contains(&guid.chars().count()) => Err(ApiError::unprocessable(
            "Guid must be between 1 and 200 characters",
        )),
        (Some(guid), None) if guid.chars().any(char::is_control) => {
            Err(ApiError::unprocessable("Guid is invalid"))
        }
        (Some(guid), None) => Ok(guid.clone()),
        (None, None) => Err(ApiError::unprocessable("Guid can't be blank")),
    }
}

/// The account that stands for something the identity server has no user for: a client.
pub(crate) fn client_account(guid: String) -> Model {
    Model {
        id: 0,
        username: guid.clone(),
        guid,
        created_at: 0,
        updated_at: 0,
        origin: String::new(),
        password_hash: None,
        email: String::new(),
        given_name: String::new(),
        family_name: String::new(),
        scopes: String::new(),
        revision: 0,
        known_to_api: true,
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
    let row = find(&tx, &caller, &guid).await?;
    let row = row.ok_or_else(|| ApiError::not_found("User"))?;
    caller.demand_admin()?;
    write_metadata(&tx, &guid, body.metadata.as_ref()).await?;
    let shown = present_one(&state, &tx, &row).await?;
    tx.commit().await?;
    Ok(Json(shown))
}

/// Takes all roles and forgets the user. The account stays with the identity server, which removes it itself: the
/// command line asks it next.
async fn delete(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Response, ApiError> {
    let tx = state.store.write().await?;
    // For admins also one the API was never told of, so that `cf delete-user` finishes what `cf create-user` began.
    let row = match caller.identity.is_admin() {
        true => tx.find::<Entity>(&guid).await?,
        false => find(&tx, &caller, &guid).await?,
    };
    let row = row.ok_or_else(|| ApiError::not_found("User"))?;
    caller.demand_admin()?;
    if row.origin == OWN_ORIGIN && row.username == OPERATOR {
        return Err(ApiError::unprocessable(
            "The user admin belongs to the platform and cannot be deleted: nobody could operate it any more",
        ));
    }
    if row.origin.is_empty() {
        tx.delete::<Entity>(&guid).await?;
    } else {
        tx.delete_where(Query::<role::Entity>::new().eq(role::Column::UserGuid, &guid))
            .await?;
        clear_metadata(&tx, &guid).await?;
        let known_to_api = false;
        tx.update::<Entity>(Model { known_to_api, ..row }).await?;
    }
    let job = job::done(&tx, &caller, "user.delete").await?;
    tx.commit().await?;
    Ok(job.response(&state))
}

async fn present_one(state: &State, tx: &Tx, row: &Model) -> Result<Value, ApiError> {
    Ok(present_all(state, tx, std::slice::from_ref(row)).await?.remove(0))
}

/// The resources of these rows.
pub(crate) async fn present_all(state: &State, tx: &Tx, rows: &[Model]) -> Result<Vec<Value>, ApiError> {
    let metadata = MetadataOf::read(tx, rows.iter().map(|row| row.guid.as_str())).await?;
    let origin = &state.settings.api_url;
    let resource = |row: &Model| {
        let person = !row.origin.is_empty();
        json!({
            "guid": row.guid, "created_at": time(row.created_at), "updated_at": time(row.updated_at),
            "username": person.then_some(&row.username), "presentation_name": presentation_name(row),
            "origin": person.then_some(&row.origin),
            "metadata": metadata.of(&row.guid),
            "links": {"self": link(origin, &format!("/v3/users/{}", row.guid))},
        })
    };
    Ok(rows.iter().map(resource).collect())
}
