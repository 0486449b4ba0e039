//! Clients: programs that ask for tokens. An empty `secret_hash` stands for the empty secret, which `cf` has; it is
//! compared without hashing, since there is nothing to protect.

use auth::Secret;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use store::client::{Entity, Model};

use crate::Uaa;
use crate::account::{has_word, words};
use crate::bearer::Bearer;
use crate::error::UaaError;
use crate::form::{Form, basic};

/// Longest client id looked up, bytes.
const MAX_ID_BYTES: usize = 255;

/// The client that sent the request, by `Basic` header or by form fields.
pub(crate) async fn authenticate(uaa: &Uaa, headers: &HeaderMap, form: &Form) -> Result<Model, UaaError> {
    let given = match basic(headers)? {
        Some(given) => given,
        None => form.client().ok_or_else(|| {
            let what = "Client credentials are missing: send a Basic header or client_id and client_secret";
            UaaError::new(StatusCode::UNAUTHORIZED, "invalid_client", what)
        })?,
    };
    let known = match given.id.len() <= MAX_ID_BYTES {
        true => find(uaa, &given.id).await?,
        false => None,
    };
    if matches(uaa, given.secret, known.as_ref()).await?
        && let Some(client) = known
    {
        return Ok(client);
    }
    Err(UaaError::invalid_client())
}

async fn matches(uaa: &Uaa, secret: Secret, known: Option<&Model>) -> Result<bool, UaaError> {
    match known {
        Some(client) if client.secret_hash.is_empty() => Ok(secret.expose().is_empty()),
        Some(client) => uaa.guard().verify(secret, Some(client.secret_hash.clone())).await,
        None => uaa.guard().verify(secret, None).await,
    }
}

/// The client with this id.
pub(crate) async fn find(uaa: &Uaa, id: &str) -> Result<Option<Model>, UaaError> {
    Ok(uaa.store.read().await?.find::<Entity>(id).await?)
}

/// Refuses a grant the client may not use.
pub(crate) fn allow_grant(client: &Model, grant: &str) -> Result<(), UaaError> {
    if has_word(&client.grants, grant) {
        return Ok(());
    }
    let what = format!("Unauthorized grant type: {grant}");
    Err(UaaError::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized_client",
        what,
    ))
}

/// `GET /oauth/clients/{id}`: role commands with `--client` ask whether it exists.
pub(crate) async fn show(
    State(uaa): State<Uaa>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<Value>, UaaError> {
    bearer.need(&["clients.read", "clients.admin", "uaa.admin"])?;
    let Some(client) = find(&uaa, &id).await? else {
        let id: String = id.chars().take(100).collect();
        let what = format!("No client with requested id: {id}");
        return Err(UaaError::new(StatusCode::NOT_FOUND, "not_found", what));
    };
    Ok(Json(json!({
        "client_id": client.guid,
        "scope": words(&client.scopes),
        "authorities": words(&client.authorities),
        "authorized_grant_types": words(&client.grants),
        "access_token_validity": client.access_seconds,
        "refresh_token_validity": client.refresh_seconds,
        "resource_ids": ["none"],
        "autoapprove": [],
        "lastModified": client.updated_at / 1000,
    })))
}
