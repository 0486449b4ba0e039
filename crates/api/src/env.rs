//! Environment variables of apps: the user's own, and what the platform adds.
//!
//! Order of precedence, lowest first: image, instance variables (the cell adds them), `PORT`, the user's, then
//! `VCAP_APPLICATION`, `MEMORY_LIMIT`, `VCAP_SERVICES`, then network variables (the cell adds them).
//! Rules: cloudfoundry/cloud_controller_ng:lib/cloud_controller/diego/environment.rb and lib/vcap/vars_builder.rb.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State as Extract};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Query, Tx, app, destination, domain, org, process, route, space};

use crate::State;
use crate::app::{find, target};
use crate::body::Body;
use crate::caller::{Caller, Right};
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::event;
use crate::present::link;

/// The user's variables, by name.
pub type Variables = BTreeMap<String, String>;

/// A change of variables: null removes.
pub type Changes = BTreeMap<String, Option<Value>>;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v3/apps/{guid}/env", show_all),
        Endpoint::get("/v3/apps/{guid}/environment_variables", show),
        Endpoint::patch("/v3/apps/{guid}/environment_variables", update),
    ]
}

/// Opens the variables of an app.
pub fn open(state: &State, row: &app::Model) -> Result<Variables, ApiError> {
    let text = state
        .sealer
        .open(&row.env_sealed, &row.guid)
        .map_err(|error| ApiError::internal(&error))?;
    serde_json::from_str(text.expose()).map_err(|error| ApiError::internal(&error))
}

/// Seals variables for the row of the app with this guid.
pub fn seal(state: &State, app_guid: &str, variables: &Variables) -> String {
    state.sealer.seal(&json!(variables).to_string(), app_guid)
}

/// Applies changes after checking them: values are text (numbers and truth values are written as text), names of the
/// platform's own variables are refused.
pub fn merge(variables: &mut Variables, changes: Changes) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    for (name, value) in changes {
        let upper = name.to_uppercase();
        if upper == "PORT" {
            problems.push("Environment variables cannot set PORT".to_owned());
        } else if upper.starts_with("VCAP_") {
            problems.push("Environment variables cannot start with VCAP_".to_owned());
        } else if name.is_empty() || name.contains(['=', '\0']) {
            problems.push("Environment variables key must be a non-empty text without '='".to_owned());
        } else {
            match value {
                None => _ = variables.remove(&name),
                Some(Value::String(text)) if !text.contains('\0') => _ = variables.insert(name, text),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => {
                    _ = variables.insert(name, value.to_string())
                }
                Some(_) => problems.push(format!("Environment variables must be strings: {name}")),
            }
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

/// Where an app lives.
pub struct Home {
    /// Its space.
    pub space: space::Model,
    /// The organization of that space.
    pub org: org::Model,
    /// Addresses that lead to it, without a scheme.
    pub uris: Vec<String>,
}

impl Home {
    /// Reads where an app lives.
    pub async fn of(tx: &Tx, app: &app::Model) -> Result<Self, ApiError> {
        let space = tx.get::<space::Entity>(&app.space_guid).await?;
        let org = tx.get::<org::Entity>(&space.org_guid).await?;
        let mine = Query::<destination::Entity>::new().eq(destination::Column::AppGuid, &app.guid);
        let routes =
            Query::<route::Entity>::new().within(route::Column::Guid, destination::Column::RouteGuid, mine);
        let mut uris = Vec::new();
        for route in tx.all(routes).await? {
            let domain = tx.get::<domain::Entity>(&route.domain_guid).await?;
            uris.push(crate::route::url(&route, &domain.name));
        }
        Ok(Self { space, org, uris })
    }
}

/// `VCAP_APPLICATION`. A process adds its own facts; the scheduler adds the instance's.
pub fn vcap_application(
    state: &State,
    app: &app::Model,
    home: &Home,
    process: Option<&process::Model>,
) -> Value {
    let version = process.map_or_else(|| app.guid.as_str(), |process| process.version.as_str());
    let mut value = json!({
        "cf_api": state.settings.api_url,
        "application_id": app.guid, "application_name": app.name, "name": app.name,
        "application_uris": home.uris, "uris": home.uris,
        "space_id": home.space.guid, "space_name": home.space.name,
        "organization_id": home.org.guid, "organization_name": home.org.name,
        "application_version": version, "version": version,
        "limits": {"fds": model::Limits::NOFILE},
    });
    if let Some(process) = process {
        value["process_id"] = process.guid.as_str().into();
        value["process_type"] = process.kind.as_str().into();
        value["limits"]["mem"] = process.memory_mb.into();
        value["limits"]["disk"] = process.disk_mb.into();
    }
    value
}

async fn show_all(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.read().await?;
    let (app, _) = find(&tx, &caller, &guid, Right::ReadSecrets).await?;
    let home = Home::of(&tx, &app).await?;
    let web = tx
        .one(
            Query::<process::Entity>::new()
                .eq(process::Column::AppGuid, &guid)
                .eq(process::Column::Kind, "web"),
        )
        .await?;
    Ok(Json(json!({
        "staging_env_json": {}, "running_env_json": {},
        "environment_variables": open(&state, &app)?,
        "system_env_json": {"VCAP_SERVICES": {}},
        "application_env_json": {"VCAP_APPLICATION": vcap_application(&state, &app, &home, web.as_ref())},
    })))
}

async fn show(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.read().await?;
    let (app, _) = find(&tx, &caller, &guid, Right::ReadSecrets).await?;
    Ok(Json(present(&state, &guid, &open(&state, &app)?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    var: Changes,
}

async fn update(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    Body(body): Body<Update>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.write().await?;
    let (mut app, space) = find(&tx, &caller, &guid, Right::Write).await?;
    let mut variables = open(&state, &app)?;
    let names: Vec<String> = body.var.keys().cloned().collect();
    merge(&mut variables, body.var).map_err(ApiError::unprocessable_all)?;
    app.env_sealed = seal(&state, &guid, &variables);
    let app = tx.update::<app::Entity>(app).await?;
    // The names say what was done; the values are secrets.
    let data =
        json!({"request": {"environment_variables": names, "environment_json": "[PRIVATE DATA HIDDEN]"}});
    event::record(&tx, &caller, "audit.app.update", target(&app, &space), data).await?;
    tx.commit().await?;
    Ok(Json(present(&state, &guid, &variables)))
}

fn present(state: &State, guid: &str, variables: &Variables) -> Value {
    let origin = &state.settings.api_url;
    json!({
        "var": variables,
        "links": {
            "self": link(origin, &format!("/v3/apps/{guid}/environment_variables")),
            "app": link(origin, &format!("/v3/apps/{guid}")),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_merge_or_are_refused() {
        let mut variables = Variables::from([("A".into(), "1".into()), ("B".into(), "2".into())]);
        let changes = |pairs: &[(&str, Option<Value>)]| {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), v.clone()))
                .collect::<Changes>()
        };
        merge(
            &mut variables,
            changes(&[("A", None), ("C", Some(json!(3))), ("D", Some(json!("$1 '")))]),
        )
        .unwrap();
        assert_eq!(
            variables,
            Variables::from([
                ("B".into(), "2".into()),
                ("C".into(), "3".into()),
                ("D".into(), "$1 '".into())
            ])
        );
        for name in ["PORT", "port", "VCAP_X", "", "A=B"] {
            assert!(
                merge(&mut variables, changes(&[(name, Some(json!("x")))])).is_err(),
                "{name}"
            );
        }
    }
}
