//! Feature flags: the operator's switches.

use axum::Json;
use axum::extract::{Path, State as Extract};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Query, StoreError, Tx, feature_flag};

use crate::State;
use crate::body::Body;
use crate::caller::Caller;
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::event::{self, Target};
use crate::list::ListQuery;
use crate::present::{link, time};

/// Every flag with its default (cloudfoundry/cloud_controller_ng:app/models/runtime/feature_flag.rb).
pub const DEFAULTS: [(&str, bool); 19] = [
    ("user_org_creation", false),
    ("private_domain_creation", true),
    ("app_bits_upload", true),
    ("app_scaling", true),
    ("route_creation", true),
    ("service_instance_creation", true),
    ("diego_docker", false),
    ("diego_cnb", false),
    ("set_roles_by_username", true),
    ("unset_roles_by_username", true),
    ("task_creation", true),
    ("env_var_visibility", true),
    ("space_scoped_private_broker_creation", true),
    ("space_developer_env_var_visibility", true),
    ("service_instance_sharing", false),
    ("hide_marketplace_from_unauthenticated_users", false),
    ("resource_matching", true),
    ("route_sharing", false),
    ("hash_based_routing", false),
];

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v3/feature_flags", list),
        Endpoint::get("/v3/feature_flags/{name}", show),
        Endpoint::patch("/v3/feature_flags/{name}", update),
    ]
}

/// Whether a flag is on.
pub async fn enabled(tx: &Tx, name: &str) -> Result<bool, StoreError> {
    Ok(tx.get::<feature_flag::Entity>(name).await?.enabled)
}

/// Refuses with 403 and the flag's own message while it is off.
pub async fn demand(tx: &Tx, name: &str) -> Result<(), ApiError> {
    match disabled_message(tx, name).await? {
        None => Ok(()),
        Some(message) => Err(ApiError::feature_disabled(&message)),
    }
}

/// While a flag is off: what to tell, its custom message or its name.
pub async fn disabled_message(tx: &Tx, name: &str) -> Result<Option<String>, StoreError> {
    let row = tx.get::<feature_flag::Entity>(name).await?;
    let message = || {
        row.custom_error_message
            .filter(|m| !m.is_empty())
            .unwrap_or_else(|| name.to_owned())
    };
    Ok((!row.enabled).then(message))
}

/// Adds flags that the database does not have yet.
pub(crate) async fn seed(tx: &Tx) -> Result<(), StoreError> {
    for (name, enabled) in DEFAULTS {
        if tx.find::<feature_flag::Entity>(name).await?.is_none() {
            let (guid, custom_error_message) = (name.to_owned(), None);
            let row = feature_flag::Model {
                id: 0,
                guid,
                created_at: 0,
                updated_at: 0,
                enabled,
                changed: false,
                custom_error_message,
            };
            tx.insert::<feature_flag::Entity>(row).await?;
        }
    }
    Ok(())
}

async fn list(Extract(state): Extract<State>, _: Caller, query: ListQuery) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&[])?;
    let rows = query.common(
        Query::<feature_flag::Entity>::new(),
        &[("name", feature_flag::Column::Guid)],
    )?;
    let page = query.page()?;
    let (rows, total) = state.store.read().await?.page(rows, page).await?;
    let resources = rows.iter().map(|row| present(&state, row)).collect();
    Ok(Json(query.envelope(
        &state.settings.api_url,
        page,
        total,
        resources,
    )))
}

async fn show(
    Extract(state): Extract<State>,
    _: Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let row = state
        .store
        .read()
        .await?
        .get::<feature_flag::Entity>(&name)
        .await?;
    Ok(Json(present(&state, &row)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    enabled: Option<bool>,
    #[serde(default, deserialize_with = "crate::body::some")]
    custom_error_message: Option<Option<String>>,
}

async fn update(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(name): Path<String>,
    Body(body): Body<Update>,
) -> Result<Json<Value>, ApiError> {
    caller.demand_admin()?;
    let tx = state.store.write().await?;
    let before = tx.get::<feature_flag::Entity>(&name).await?;
    let was = before.enabled;
    let row = feature_flag::Model {
        enabled: body.enabled.unwrap_or(was),
        changed: true,
        custom_error_message: body
            .custom_error_message
            .unwrap_or(before.custom_error_message.clone()),
        ..before
    };
    let row = tx.update::<feature_flag::Entity>(row).await?;
    let target = Target {
        kind: "feature_flag",
        guid: &name,
        name: &name,
        space_guid: None,
        org_guid: None,
    };
    let data = json!({"request": {"enabled": row.enabled}, "was": {"enabled": was}});
    event::record(&tx, &caller, "audit.feature_flag.update", target, data).await?;
    tx.commit().await?;
    Ok(Json(present(&state, &row)))
}

fn present(state: &State, row: &feature_flag::Model) -> Value {
    json!({
        "name": row.guid, "enabled": row.enabled,
        "updated_at": row.changed.then(|| time(row.updated_at)),
        "custom_error_message": row.custom_error_message,
        "links": {"self": link(&state.settings.api_url, &format!("/v3/feature_flags/{}", row.guid))},
    })
}
