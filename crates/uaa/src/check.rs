//! What a token says, for services that cannot or do not want to check signatures.

use auth::Claims;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::Uaa;
use crate::account::{by_guid, has_word};
use crate::bearer::{Bearer, still_stands};
use crate::client::authenticate;
use crate::error::UaaError;
use crate::form::Form;

/// Authority of clients that may look into other people's tokens.
const RESOURCE: &str = "uaa.resource";

/// `POST /check_token`: the claims, or 400 `invalid_token`.
pub(crate) async fn check_token(
    State(uaa): State<Uaa>,
    headers: HeaderMap,
    form: Form,
) -> Result<Json<Value>, UaaError> {
    let claims = look(&uaa, &headers, &form).await?;
    let claims = claims.ok_or_else(|| {
        let what = "Invalid token: expired, revoked or not of this platform";
        UaaError::new(StatusCode::BAD_REQUEST, "invalid_token", what)
    })?;
    Ok(Json(json!(claims)))
}

/// `POST /introspect` (RFC 7662): the claims and `active`.
pub(crate) async fn introspect(
    State(uaa): State<Uaa>,
    headers: HeaderMap,
    form: Form,
) -> Result<Json<Value>, UaaError> {
    Ok(Json(match look(&uaa, &headers, &form).await? {
        None => json!({"active": false}),
        Some(claims) => {
            let mut reply = json!(claims);
            reply["active"] = true.into();
            reply
        }
    }))
}

async fn look(uaa: &Uaa, headers: &HeaderMap, form: &Form) -> Result<Option<Claims>, UaaError> {
    let client = authenticate(uaa, headers, form).await?;
    if !has_word(&client.authorities, RESOURCE) {
        return Err(UaaError::insufficient_scope(RESOURCE));
    }
    let Ok(claims) = uaa.verifier.verify_access(form.need("token")?, uaa.now()) else {
        return Ok(None);
    };
    Ok(still_stands(uaa, &claims).await.is_ok().then_some(claims))
}

/// `GET /userinfo`.
pub(crate) async fn userinfo(State(uaa): State<Uaa>, bearer: Bearer) -> Result<Json<Value>, UaaError> {
    bearer.need(&["openid"])?;
    let guid = bearer.claims.user_id.as_deref().unwrap_or_default();
    let user = by_guid(&uaa.store.read().await?, guid).await?;
    let user = user.ok_or_else(|| UaaError::no_such_user(guid))?;
    let name = format!("{} {}", user.given_name, user.family_name);
    Ok(Json(json!({
        "sub": user.guid, "user_id": user.guid, "user_name": user.username, "origin": user.origin,
        "email": user.email, "email_verified": true, "name": name.trim(),
        "given_name": user.given_name, "family_name": user.family_name,
    })))
}

/// `DELETE /oauth/token/revoke/{jti}`. Tokens say `revocable: false`, so `cf logout` does not come here; others are
/// told yes, as forgetting the token is all a logout does.
pub(crate) async fn revoke(_bearer: Bearer, Path(_jti): Path<String>) -> StatusCode {
    StatusCode::OK
}
