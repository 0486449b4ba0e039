//! Images that cells keep, and which apps use them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use axum::Json;
use axum::extract::State as Extract;
use serde_json::{Value, json};
use store::{Query, Tx, actual_lrp, app, process, space};
use wire::v1::{CachedImage, ImagesReply, ImagesRequest};

use crate::State;
use crate::caller::Caller;
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::present::time;

/// How long the cell may take to tell.
const ANSWER: Duration = Duration::from_secs(5);

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![Endpoint::get("/slipway/v1/images", list)]
}

async fn list(Extract(state): Extract<State>, caller: Caller) -> Result<Json<Value>, ApiError> {
    caller.demand_admin()?;
    let away = || ApiError::unavailable("The cell does not answer; try again");
    let mut cell = state.cell.clone();
    let asked = tokio::time::timeout(ANSWER, cell.images(ImagesRequest {})).await;
    let reply = asked.map_err(|_| away())?.map_err(|_| away())?.into_inner();
    let users = Users::read(&state.store.read().await?).await?;
    Ok(Json(json!({"cells": [present(&reply, &users)]})))
}

fn present(reply: &ImagesReply, users: &Users) -> Value {
    let images: Vec<Value> = reply.images.iter().map(|image| image_of(image, users)).collect();
    json!({"guid": reply.cell_id, "images": images})
}

fn image_of(image: &CachedImage, users: &Users) -> Value {
    json!({
        "digest": image.manifest_digest, "reference": image.reference,
        "bytes": image.bytes, "exclusive_bytes": image.exclusive_bytes, "layers": image.layers,
        "users": users.of(&image.instance_guids),
        "last_used_at": (image.last_used_ns > 0).then(|| time(image.last_used_ns / 1000)),
    })
}

/// Which app an instance belongs to.
struct Users {
    /// App by instance.
    instances: HashMap<String, String>,
    apps: HashMap<String, app::Model>,
    spaces: HashMap<String, String>,
}

impl Users {
    async fn read(tx: &Tx) -> Result<Self, ApiError> {
        let processes = tx.all(Query::<process::Entity>::new()).await?;
        let app_of: HashMap<String, String> = processes
            .into_iter()
            .map(|row| (row.guid, row.app_guid))
            .collect();
        let actuals = tx.all(Query::<actual_lrp::Entity>::new()).await?;
        let apps = tx.all(Query::<app::Entity>::new()).await?;
        let spaces = tx.all(Query::<space::Entity>::new()).await?;
        Ok(Self {
            instances: actuals
                .into_iter()
                .filter_map(|row| Some((row.guid, app_of.get(&row.process_guid)?.clone())))
                .collect(),
            apps: apps.into_iter().map(|row| (row.guid.clone(), row)).collect(),
            spaces: spaces.into_iter().map(|row| (row.guid, row.name)).collect(),
        })
    }

    /// Apps with how many of these instances are theirs, by name. An instance of no known app is on its way out.
    fn of(&self, instances: &[String]) -> Vec<Value> {
        let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for guid in instances {
            if let Some(app) = self.instances.get(guid).and_then(|guid| self.apps.get(guid)) {
                *counts.entry((&app.name, &app.guid)).or_default() += 1;
            }
        }
        let space = |guid: &str| {
            let app = self.apps.get(guid)?;
            Some(json!({"guid": app.space_guid, "name": self.spaces.get(&app.space_guid)}))
        };
        counts
            .into_iter()
            .map(|((name, guid), instances)| {
                json!({"app": {"guid": guid, "name": name}, "space": space(guid), "instances": instances})
            })
            .collect()
    }
}
