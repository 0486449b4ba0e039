//! `PUT /Users/{id}/password`. Ends every refresh token of the user, the caller's too.

use auth::Secret;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};
use store::user::Entity;
use tracing::info;

use crate::Uaa;
use crate::account::by_guid;
use crate::bearer::Bearer;
use crate::error::UaaError;
use crate::scim::json_body;

/// Body of the request. No `Debug`: it is all passwords.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    old_password: Option<Secret>,
    password: Option<Secret>,
}

/// One's own password with the old one, anybody's with `uaa.admin`.
pub(crate) async fn change(
    State(uaa): State<Uaa>,
    bearer: Bearer,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, UaaError> {
    let by_admin = bearer.has(&["uaa.admin"]);
    let own = bearer.is_user(&id) && bearer.has(&["password.write"]);
    if !(by_admin || own) {
        return Err(UaaError::insufficient_scope(
            "password.write for one's own password, uaa.admin for another's",
        ));
    }
    let change: Change = json_body(&body)?;
    let new = change.password.filter(|new| !new.expose().is_empty());
    let new = new.ok_or_else(|| UaaError::invalid_password("A new password is required"))?;
    let user = by_guid(&uaa.store.read().await?, &id).await?;
    let user = user.ok_or_else(|| UaaError::no_such_user(&id))?;
    if !by_admin {
        let old = change.old_password.unwrap_or_else(|| Secret::new(""));
        let who = format!("{}/{}", user.origin, user.username);
        let same = old.matches(new.expose());
        if !uaa.guard().attempt(who, old, user.password_hash.clone()).await? {
            return Err(UaaError::unauthorized("Old password is incorrect"));
        }
        if same {
            let what = "Your new password cannot be the same as the old password";
            return Err(UaaError::invalid_password(what));
        }
    }
    let hash = uaa.guard().hash(new).await?;
    let tx = uaa.store.write().await?;
    // Read again: the row may have changed while the hashes were computed.
    let now = by_guid(&tx, &id).await?;
    let mut now = now.ok_or_else(|| UaaError::no_such_user(&id))?;
    if now.revision != user.revision {
        return Err(UaaError::unauthorized(
            "The password was changed by somebody else just now; log in and try again",
        ));
    }
    now.password_hash = Some(hash);
    now.revision += 1;
    tx.update::<Entity>(now).await?;
    tx.commit().await?;
    info!(user = %id, by = %bearer.claims.sub, "password changed");
    Ok(Json(json!({"status": "ok", "message": "password updated"})))
}
