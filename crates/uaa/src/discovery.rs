//! What clients ask before they log in: prompts, versions, addresses, public keys. Needs no token.

use auth::Jwk;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};

use crate::{Uaa, VERSION};

/// `GET /login`: prompts for programs; people are told which program to use.
pub(crate) async fn login(State(uaa): State<Uaa>, headers: HeaderMap) -> Response {
    let accept = headers
        .get(ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    if accept.contains("text/html") && !accept.contains("application/json") {
        return Html("<!doctype html><title>Slipway</title><p>Log in with <code>cf login</code>.")
            .into_response();
    }
    info(State(uaa)).await.into_response()
}

/// `GET /info`.
pub(crate) async fn info(State(uaa): State<Uaa>) -> Json<Value> {
    let s = &uaa.settings;
    Json(json!({
        "app": {"version": VERSION},
        "links": {"uaa": s.uaa_url, "login": s.login_url},
        "prompts": {"username": ["text", "Email"], "password": ["password", "Password"]},
        "zone_name": "uaa",
        "entityID": s.login_url,
        "idpDefinitions": {},
    }))
}

/// `GET /token_keys`: every key that tokens may be signed with, the current one first.
pub(crate) async fn token_keys(State(uaa): State<Uaa>) -> Json<Value> {
    let current = uaa.minter.jwk();
    let former = uaa.former_keys.iter().filter(|key| key.kid != current.kid);
    let keys: Vec<&Jwk> = std::iter::once(current).chain(former).collect();
    Json(json!({"keys": keys}))
}

/// `GET /token_key`: the current key.
pub(crate) async fn token_key(State(uaa): State<Uaa>) -> Json<Value> {
    Json(json!(uaa.minter.jwk()))
}

/// `GET /.well-known/openid-configuration`; names only what is served.
pub(crate) async fn openid(State(uaa): State<Uaa>) -> Json<Value> {
    let (issuer, url) = (uaa.minter.issuer(), &uaa.settings.uaa_url);
    Json(json!({
        "issuer": issuer,
        "token_endpoint": format!("{url}/oauth/token"),
        "jwks_uri": format!("{url}/token_keys"),
        "userinfo_endpoint": format!("{url}/userinfo"),
        "introspection_endpoint": format!("{url}/introspect"),
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "grant_types_supported": ["password", "refresh_token", "client_credentials"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "subject_types_supported": ["public"],
        "scopes_supported": ["openid"],
        "claims_supported": ["sub", "user_name", "origin", "iss", "auth_time", "client_id", "aud", "exp", "iat",
            "jti", "scope", "email", "rev_sig", "cid"],
    }))
}
