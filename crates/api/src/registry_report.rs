//! What the registry settings mean: which apps they refuse, and how fetching one image goes.

use std::collections::HashMap;

use auth::Secret;
use axum::Json;
use axum::extract::State as Extract;
use model::{RegistrySettings, is_root_user};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Noun, Query, Tx, app, droplet, org, process, space};

use crate::State;
use crate::body::Body;
use crate::caller::Caller;
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::registry::{Login, Step, effective};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/slipway/v1/registry/violations", violations),
        Endpoint::post("/slipway/v1/registry/check", check),
    ]
}

/// Apps whose present image the settings in force would refuse. They run on; the next push or restage does not.
async fn violations(Extract(state): Extract<State>, caller: Caller) -> Result<Json<Value>, ApiError> {
    caller.demand_admin()?;
    let tx = state.store.read().await?;
    let settings = effective(&state, &tx).await?;
    let apps = Apps::read(&tx).await?;
    drop(tx);
    let images: Vec<String> = apps
        .rows
        .iter()
        .map(|(_, droplet)| droplet.image.clone())
        .collect();
    let refusals = state.images.refusals(&settings, &images);
    let mut violations = Vec::new();
    for ((app, droplet), refusal) in apps.rows.iter().zip(refusals) {
        let rules = refusal.into_iter().chain(apps.root_rule(&settings, app, droplet));
        violations.extend(rules.map(|rule| apps.violation(app, droplet, &rule)));
    }
    Ok(Json(json!({"violations": violations})))
}

/// Every app that has an image, with what is needed to tell of it.
struct Apps {
    rows: Vec<(app::Model, droplet::Model)>,
    /// By app.
    processes: HashMap<String, Vec<process::Model>>,
    spaces: HashMap<String, space::Model>,
    orgs: HashMap<String, org::Model>,
}

impl Apps {
    async fn read(tx: &Tx) -> Result<Self, ApiError> {
        let mut droplets = by_guid::<droplet::Entity>(tx).await?;
        let mut processes: HashMap<String, Vec<process::Model>> = HashMap::new();
        for row in tx.all(Query::<process::Entity>::new()).await? {
            processes.entry(row.app_guid.clone()).or_default().push(row);
        }
        let apps = tx.all(Query::<app::Entity>::new()).await?;
        let with_droplet = |app: app::Model| {
            let droplet = droplets.remove(app.droplet_guid.as_deref()?)?;
            Some((app, droplet))
        };
        Ok(Self {
            rows: apps.into_iter().filter_map(with_droplet).collect(),
            processes,
            spaces: by_guid::<space::Entity>(tx).await?,
            orgs: by_guid::<org::Entity>(tx).await?,
        })
    }

    /// The rule that a process of the app breaks by running as root.
    fn root_rule(
        &self,
        settings: &RegistrySettings,
        app: &app::Model,
        droplet: &droplet::Model,
    ) -> Option<String> {
        if settings.allow_root_user != Some(false) {
            return None;
        }
        let of_image = droplet
            .read_config()
            .map(|config| config.user)
            .unwrap_or_default();
        let root = |process: &&process::Model| is_root_user(process.run_as.as_ref().unwrap_or(&of_image));
        let process = self.processes.get(&app.guid)?.iter().find(root)?;
        Some(format!(
            "allow_root_user: false (process {} runs as root)",
            process.kind
        ))
    }

    fn violation(&self, app: &app::Model, droplet: &droplet::Model, rule: &str) -> Value {
        let space = self.spaces.get(&app.space_guid);
        let org = space.and_then(|space| self.orgs.get(&space.org_guid));
        json!({
            "app": {"guid": app.guid, "name": app.name, "state": app.state},
            "space": space.map(|space| json!({"guid": space.guid, "name": space.name})),
            "organization": org.map(|org| json!({"guid": org.guid, "name": org.name})),
            "image": droplet.image,
            "rule": rule,
        })
    }
}

async fn by_guid<E: Noun>(tx: &Tx) -> Result<HashMap<String, E::Row>, ApiError> {
    let rows = tx.all(Query::<E>::new()).await?;
    Ok(rows
        .into_iter()
        .map(|row| (E::guid_of(&row).to_owned(), row))
        .collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    image: String,
    username: Option<String>,
    password: Option<String>,
}

async fn check(
    Extract(state): Extract<State>,
    caller: Caller,
    Body(body): Body<Check>,
) -> Result<Json<Value>, ApiError> {
    caller.demand_admin()?;
    let login = login(body.username, body.password)?;
    let settings = effective(&state, &state.store.read().await?).await?;
    let explained = state.images.explain(&settings, &body.image, login).await;
    let steps: Vec<Value> = explained
        .map_err(ApiError::unprocessable)?
        .iter()
        .map(step)
        .collect();
    Ok(Json(json!({"image": body.image, "steps": steps})))
}

fn login(username: Option<String>, password: Option<String>) -> Result<Option<Login>, ApiError> {
    match (username.filter(|name| !name.is_empty()), password) {
        (None, None) => Ok(None),
        (Some(username), Some(password)) => Ok(Some(Login {
            username,
            password: Secret::new(password),
        })),
        _ => Err(ApiError::unprocessable(
            "Username and password belong together; give both or neither",
        )),
    }
}

fn step(step: &Step) -> Value {
    json!({"name": step.name, "outcome": step.outcome.as_str(), "detail": step.detail, "ms": step.ms})
}
