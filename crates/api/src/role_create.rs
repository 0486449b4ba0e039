//! Giving roles: `POST /v3/roles`, for users named by guid or by username.

use auth::Role;
use axum::Json;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use store::{Query, StoreError, Tx, client, org, role, space, user};

use crate::body::{Body, ToOne};
use crate::caller::{Caller, Right, org_status, refuse};
use crate::error::ApiError;
use crate::role::{insert, present, record};
use crate::{State, flag, user as users};

const NO_ORG_ROLE: &str =
    "Users cannot be assigned roles in a space if they do not have a role in that space's organization.";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    #[serde(rename = "type")]
    kind: String,
    relationships: Relationships,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Relationships {
    user: ToUser,
    organization: Option<ToOne>,
    space: Option<ToOne>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToUser {
    data: UserRef,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserRef {
    guid: Option<String>,
    username: Option<String>,
    origin: Option<String>,
}

/// Where a role is to be held.
enum Place {
    Org(org::Model),
    Space(space::Model),
}

pub(crate) async fn create(
    Extract(state): Extract<State>,
    caller: Caller,
    Body(body): Body<Create>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let kind: Role = body.kind.parse().map_err(|_| {
        let all: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
        ApiError::unprocessable(format!("Type must be one of the allowed types {all:?}"))
    })?;
    let tx = state.store.write().await?;
    let place = find_place(&tx, &caller, kind, &body.relationships).await?;
    let user = find_user(&tx, &caller, body.relationships.user.data, &place).await?;
    let (org, space) = match &place {
        Place::Org(org) => (org.guid.as_str(), ""),
        Place::Space(space) => (space.org_guid.as_str(), space.guid.as_str()),
    };
    if kind.is_space_role() && !has_org_role(&tx, &user, org).await? {
        return Err(ApiError::unprocessable(NO_ORG_ROLE));
    }
    let row = insert(&tx, kind, &user.guid, org, space)
        .await
        .map_err(|error| taken(error, kind, &user, &place))?;
    users::make_known(&tx, user).await?;
    record(&tx, &caller, &row, "add").await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(present(&state, &row))))
}

async fn find_place(tx: &Tx, caller: &Caller, kind: Role, given: &Relationships) -> Result<Place, ApiError> {
    let org = given.organization.as_ref().and_then(ToOne::guid);
    let space = given.space.as_ref().and_then(ToOne::guid);
    match (kind.is_space_role(), org, space) {
        (_, Some(_), Some(_)) => Err(ApiError::unprocessable(
            "Role cannot be associated with both an organization and a space.",
        )),
        (_, None, None) => Err(ApiError::unprocessable(
            "Role must be associated with an organization or a space.",
        )),
        (true, _, None) => Err(ApiError::unprocessable(format!(
            "Relationships Space can't be blank for the role {kind}"
        ))),
        (false, None, _) => Err(ApiError::unprocessable(format!(
            "Relationships Organization can't be blank for the role {kind}"
        ))),
        (true, _, Some(guid)) => Ok(Place::Space(space_of(tx, caller, guid).await?)),
        (false, Some(guid), _) => Ok(Place::Org(org_of(tx, caller, guid).await?)),
    }
}

async fn space_of(tx: &Tx, caller: &Caller, guid: &str) -> Result<space::Model, ApiError> {
    match caller.demand(tx, Right::Update, guid, "Space").await {
        Err(error) if error.status() == StatusCode::NOT_FOUND => Err(ApiError::unprocessable(
            "Invalid space. Ensure that the space exists and you have access to it.",
        )),
        found => found,
    }
}

async fn org_of(tx: &Tx, caller: &Caller, guid: &str) -> Result<org::Model, ApiError> {
    let row = match caller.org(tx, guid).await {
        Err(error) if error.status() == StatusCode::NOT_FOUND => {
            return Err(ApiError::unprocessable(
                "Invalid organization. Ensure that the organization exists and you have access to it.",
            ));
        }
        found => found?,
    };
    let status = org_status(tx, guid).await?;
    caller
        .permissions
        .can_write_org(&guid.into(), status)
        .map_err(|why| refuse(why, "Organization"))?;
    Ok(row)
}

async fn find_user(tx: &Tx, caller: &Caller, who: UserRef, place: &Place) -> Result<user::Model, ApiError> {
    match (who.guid, who.username) {
        (Some(_), Some(_)) => Err(ApiError::unprocessable(
            "Username cannot be specified when identifying user by guid",
        )),
        (Some(guid), None) => by_guid(tx, caller, &guid, place).await,
        (None, Some(name)) => {
            if !caller.identity.is_admin() {
                flag::demand(tx, "set_roles_by_username").await?;
            }
            let origin = who.origin.as_deref().filter(|origin| !origin.is_empty());
            let found = users::named(tx, &name, origin).await?;
            found.ok_or_else(|| {
                ApiError::unprocessable(match (origin, place) {
                    (_, Place::Space(_)) => NO_ORG_ROLE.to_owned(),
                    (Some(origin), Place::Org(_)) => {
                        format!("No user exists with the username '{name}' and origin '{origin}'.")
                    }
                    (None, Place::Org(_)) => format!("No user exists with the username '{name}'."),
                })
            })
        }
        (None, None) => Err(ApiError::unprocessable(
            "User guid or username must be given in relationships.user.data",
        )),
    }
}

/// In a space only whom one sees, that is members of the org; into an org anybody who knows the guid. A client of the
/// identity server becomes a user here with its first role.
async fn by_guid(tx: &Tx, caller: &Caller, guid: &str, place: &Place) -> Result<user::Model, ApiError> {
    if let Place::Space(_) = place {
        let seen = users::find(tx, caller, guid).await?;
        return seen.ok_or_else(|| ApiError::unprocessable(NO_ORG_ROLE));
    }
    if let Some(known) = tx.find::<user::Entity>(guid).await? {
        return Ok(known);
    }
    match tx.find::<client::Entity>(guid).await? {
        Some(client) => Ok(tx
            .insert::<user::Entity>(users::client_account(client.guid))
            .await?),
        None => Err(ApiError::unprocessable(
            "Invalid user. Ensure that the user exists and you have access to it.",
        )),
    }
}

async fn has_org_role(tx: &Tx, user: &user::Model, org: &str) -> Result<bool, StoreError> {
    let held = Query::<role::Entity>::new()
        .eq(role::Column::UserGuid, &user.guid)
        .eq(role::Column::OrgGuid, org)
        .eq(role::Column::SpaceGuid, "");
    Ok(tx.count(held).await? > 0)
}

/// Clients match on `User '.*' already has '.*' role` and go on.
fn taken(error: StoreError, kind: Role, user: &user::Model, place: &Place) -> ApiError {
    let StoreError::Conflict { .. } = error else {
        return error.into();
    };
    let name = users::presentation_name(user);
    ApiError::unprocessable(match place {
        Place::Org(org) => {
            format!(
                "User '{name}' already has '{kind}' role in organization '{}'.",
                org.name
            )
        }
        Place::Space(space) => format!(
            "User '{name}' already has '{kind}' role in space '{}'.",
            space.name
        ),
    })
}
