//! `POST /oauth/token`: password, refresh_token and client_credentials.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auth::{Claims, ClientGrant, Life, Minted, Secret, UserGrant};
use axum::Json;
use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, PRAGMA};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use model::UserGuid;
use serde_json::{Value, json};
use store::{client, user};
use tracing::info;

use crate::Uaa;
use crate::account::{ORIGIN, by_guid, by_name, client_rev_sig, has_word, user_rev_sig, words};
use crate::client::{allow_grant, authenticate};
use crate::error::UaaError;
use crate::form::Form;

/// Longest username looked up, bytes.
const MAX_NAME_BYTES: usize = 255;

/// `POST /oauth/token`.
pub(crate) async fn grant(
    State(uaa): State<Uaa>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, UaaError> {
    let client = authenticate(&uaa, &headers, &form).await?;
    let kind = form.need("grant_type")?;
    if !["password", "refresh_token", "client_credentials"].contains(&kind) {
        let kind: String = kind.chars().take(100).collect();
        let what = format!("Unsupported grant type: {kind}");
        return Err(UaaError::new(
            StatusCode::BAD_REQUEST,
            "unsupported_grant_type",
            what,
        ));
    }
    allow_grant(&client, kind)?;
    let reply = match kind {
        "password" => {
            let hint = query.iter().find(|(key, _)| key == "login_hint");
            check_hint(hint.map(|(_, value)| value.as_str()).or(form.text("login_hint")))?;
            password(&uaa, &client, &form).await?
        }
        "refresh_token" => refresh(&uaa, &client, &form).await?,
        _ => client_credentials(&uaa, &client, &form)?,
    };
    Ok(([(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")], Json(reply)).into_response())
}

/// A login hint names the identity provider; there is one.
fn check_hint(hint: Option<&str>) -> Result<(), UaaError> {
    let Some(hint) = hint else {
        return Ok(());
    };
    let hint: Value = serde_json::from_str(hint)
        .map_err(|_| UaaError::invalid_request("login_hint must be JSON: {\"origin\":\"uaa\"}"))?;
    match hint.get("origin").and_then(Value::as_str) {
        None | Some(ORIGIN) => Ok(()),
        Some(_) => Err(UaaError::invalid_request(
            "The origin provided in the login hint is invalid: this platform has the origin 'uaa' only",
        )),
    }
}

async fn password(uaa: &Uaa, client: &client::Model, form: &Form) -> Result<Value, UaaError> {
    if form.text("passcode").is_some() {
        return Err(UaaError::unauthorized(
            "One-time passcodes are not served; log in with a username and a password",
        ));
    }
    let name = form.need("username")?;
    let given = Secret::new(form.need("password")?);
    let found = match name.len() <= MAX_NAME_BYTES {
        true => by_name(&uaa.store.read().await?, name).await?,
        false => None,
    };
    let who: String = format!("{ORIGIN}/{name}").chars().take(MAX_NAME_BYTES).collect();
    let stored = found.as_ref().and_then(|user| user.password_hash.clone());
    let matches = uaa.guard().attempt(who, given, stored).await?;
    // Only names that exist are logged: people type passwords into the wrong prompt.
    let user = match found {
        Some(user) if matches => user,
        Some(user) => {
            info!(user = %user.guid, "login failed");
            return Err(UaaError::bad_credentials());
        }
        None => return Err(UaaError::bad_credentials()),
    };
    info!(user = %user.guid, client = %client.guid, "logged in");
    let scopes = narrow(form, granted(&user, client))?;
    Ok(user_tokens(
        uaa,
        client,
        &user,
        Proof {
            scopes,
            grant_type: "password".to_owned(),
            auth_time: uaa.now(),
        },
    ))
}

async fn refresh(uaa: &Uaa, client: &client::Model, form: &Form) -> Result<Value, UaaError> {
    let now = uaa.now();
    let claims = uaa
        .verifier
        .verify_refresh(form.need("refresh_token")?, now)
        .map_err(UaaError::invalid_token)?;
    let revoked = || UaaError::invalid_token("revoked; log in again");
    if claims.client_id != client.guid {
        return Err(UaaError::invalid_token("issued to another client"));
    }
    let guid = claims.user_id.as_deref().ok_or_else(revoked)?;
    let user = by_guid(&uaa.store.read().await?, guid).await?;
    let user = user.ok_or_else(revoked)?;
    if claims.rev_sig != user_rev_sig(&user, client) {
        return Err(revoked());
    }
    // Never more than was granted first, never more than the user has today.
    let mut scopes = granted(&user, client);
    scopes.retain(|scope| claims.scope.contains(scope));
    let scopes = narrow(form, scopes)?;
    let proof = Proof {
        scopes,
        auth_time: auth_time(&claims),
        grant_type: claims.grant_type,
    };
    Ok(user_tokens(uaa, client, &user, proof))
}

fn client_credentials(uaa: &Uaa, client: &client::Model, form: &Form) -> Result<Value, UaaError> {
    let scopes = narrow(form, words(&client.authorities))?;
    let grant = ClientGrant {
        id: client.guid.clone(),
        scopes: scopes.clone(),
        rev_sig: client_rev_sig(client),
    };
    let minted = uaa.minter.mint_client(&grant, life(uaa, client.access_seconds));
    Ok(reply(&minted, &scopes))
}

/// What the user proved, when and how.
struct Proof {
    scopes: Vec<String>,
    grant_type: String,
    auth_time: SystemTime,
}

fn user_tokens(uaa: &Uaa, client: &client::Model, user: &user::Model, proof: Proof) -> Value {
    let grant = UserGrant {
        guid: UserGuid::new(&user.guid),
        name: user.username.clone(),
        email: user.email.clone(),
        origin: user.origin.clone(),
        client_id: client.guid.clone(),
        grant_type: proof.grant_type,
        scopes: proof.scopes,
        auth_time: proof.auth_time,
        rev_sig: user_rev_sig(user, client),
    };
    let minted = uaa.minter.mint_user(&grant, life(uaa, client.access_seconds));
    let mut reply = reply(&minted, &grant.scopes);
    if has_word(&client.grants, "refresh_token") {
        let refresh = uaa.minter.mint_refresh(&grant, life(uaa, client.refresh_seconds));
        reply["refresh_token"] = refresh.token.expose().into();
    }
    reply
}

fn reply(minted: &Minted, scopes: &[String]) -> Value {
    json!({
        "access_token": minted.token.expose(),
        // Lower case: `cf` strips exactly this word.
        "token_type": "bearer",
        "expires_in": minted.expires_in,
        "scope": scopes.join(" "),
        "jti": minted.jti,
    })
}

fn granted(user: &user::Model, client: &client::Model) -> Vec<String> {
    let mut scopes = words(&user.scopes);
    scopes.retain(|scope| has_word(&client.scopes, scope));
    scopes
}

/// Keeps the scopes the form asks for, when it asks.
fn narrow(form: &Form, mut allowed: Vec<String>) -> Result<Vec<String>, UaaError> {
    if let Some(asked) = form.text("scope") {
        allowed.retain(|scope| has_word(asked, scope));
        if allowed.is_empty() {
            let asked: String = asked.chars().take(200).collect();
            let what = format!("[{asked}] is invalid. None of the requested scopes is allowed");
            return Err(UaaError::new(StatusCode::BAD_REQUEST, "invalid_scope", what));
        }
    }
    Ok(allowed)
}

fn life(uaa: &Uaa, seconds: i64) -> Life {
    Life {
        now: uaa.now(),
        ttl: Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
    }
}

fn auth_time(claims: &Claims) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(claims.auth_time.unwrap_or(claims.iat))
}
