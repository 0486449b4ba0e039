//! Discovery: `GET /`, `/v3`, `/v3/info`, `/v2/info`.

use axum::Json;
use axum::extract::State as Extract;
use serde_json::{Value, json};

use crate::State;
use crate::endpoint::Endpoint;
use crate::present::link;

/// The API version clients gate features on: at least 3.211 (instances embedded in process lists), below 3.224 (route
/// policies, which are not served).
pub const VERSION: &str = "3.220.0";

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/", root),
        Endpoint::get("/v3", v3),
        Endpoint::get("/v3/info", info),
        Endpoint::get("/v2/info", v2_info),
    ]
}

async fn root(Extract(state): Extract<State>) -> Json<Value> {
    let s = &state.settings;
    Json(json!({
        "links": {
            "self": {"href": s.api_url},
            "cloud_controller_v3": {"href": format!("{}/v3", s.api_url), "meta": {"version": VERSION}},
            "login": {"href": s.login_url},
            "uaa": {"href": s.uaa_url},
            "log_cache": {"href": s.log_cache_url},
            "network_policy_v1": {"href": format!("{}/networking/v1/external", s.api_url)},
        },
        "cf_on_k8s": false,
    }))
}

async fn v3(Extract(state): Extract<State>) -> Json<Value> {
    let origin = &state.settings.api_url;
    let nouns = [
        "apps",
        "audit_events",
        "builds",
        "domains",
        "droplets",
        "feature_flags",
        "organizations",
        "packages",
        "processes",
        "roles",
        "routes",
        "spaces",
        "users",
    ];
    let mut links = json!({"self": link(origin, "/v3")});
    for noun in nouns {
        links[noun] = link(origin, &format!("/v3/{noun}"));
    }
    Json(json!({"links": links}))
}

async fn info(Extract(state): Extract<State>) -> Json<Value> {
    let origin = &state.settings.api_url;
    Json(json!({
        "name": "Slipway", "build": env!("CARGO_PKG_VERSION"), "version": 0, "osbapi_version": "2.17",
        "description": "Runs container images for many tenants",
        "custom": {},
        "cli_version": {"minimum": "", "recommended": ""},
        "rate_limits": {"enabled": false, "general_limit": 0, "reset_interval_in_minutes": 0},
        "links": {"self": link(origin, "/v3/info"), "support": {"href": ""}},
    }))
}

async fn v2_info(Extract(state): Extract<State>) -> Json<Value> {
    let s = &state.settings;
    Json(json!({
        "name": "Slipway", "build": env!("CARGO_PKG_VERSION"), "version": 0, "api_version": "",
        "support": "The v2 API is not served; use v3", "description": "Runs container images for many tenants",
        "authorization_endpoint": s.login_url, "token_endpoint": s.uaa_url, "doppler_logging_endpoint": null,
        "min_cli_version": null, "min_recommended_cli_version": null,
    }))
}
