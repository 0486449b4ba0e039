//! What a manifest would change, as JSON patch steps for people to read.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::apply::{check, named};
use super::document::read;
use super::show::section;
use crate::State;
use crate::caller::{Caller, Right};
use crate::error::ApiError;

/// Keys that are instructions, not properties an app could already have.
const INSTRUCTIONS: [&str; 6] = [
    "default-route",
    "random-route",
    "no-route",
    "lifecycle",
    "path",
    "name",
];

pub(super) async fn diff(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let wishes = read(&body)?;
    let tx = state.store.read().await?;
    let space = caller.demand(&tx, Right::Write, &guid, "Space").await?;
    check(&tx, &space, &wishes).await?;
    let mut steps = Vec::new();
    for (index, wish) in wishes.iter().enumerate() {
        let path = format!("/applications/{index}");
        match named(&tx, &space, &wish.name).await? {
            None => {
                for (key, value) in &wish.raw {
                    steps.push(json!({"op": "add", "path": format!("{path}/{key}"), "value": value}));
                }
            }
            Some(app) => {
                let present = section(&state, &tx, &app).await?;
                compare(&path, &present, &wish.raw, &mut steps);
            }
        }
    }
    Ok((StatusCode::CREATED, Json(json!({"diff": steps}))))
}

fn compare(path: &str, present: &Map<String, Value>, wish: &Map<String, Value>, steps: &mut Vec<Value>) {
    let web = present
        .get("processes")
        .and_then(Value::as_array)
        .and_then(|all| all.iter().find(|p| p["type"] == "web"))
        .and_then(Value::as_object);
    for (key, value) in wish {
        let hyphens = key.replace('_', "-");
        if INSTRUCTIONS.contains(&hyphens.as_str()) {
            continue;
        }
        let was = present
            .get(&hyphens)
            .or_else(|| present.get(key))
            .or_else(|| web?.get(&hyphens));
        let path = format!("{path}/{key}");
        match (was, value) {
            (Some(was), value) if loosely_equal(was, value) => {}
            (Some(Value::Object(was)), Value::Object(now)) => compare(&path, was, now, steps),
            (Some(was), value) => {
                steps.push(json!({"op": "replace", "path": path, "was": was, "value": value}))
            }
            (None, Value::Null) => {}
            (None, value) => steps.push(json!({"op": "add", "path": path, "value": value})),
        }
    }
}

/// `1` and `"1"`, `1G` and `1024M` are the same to a reader of a manifest.
fn loosely_equal(one: &Value, other: &Value) -> bool {
    let text = |value: &Value| match value {
        Value::String(text) => normal_size(text),
        other => other.to_string(),
    };
    one == other || (!one.is_object() && !one.is_array() && text(one) == text(other))
}

fn normal_size(text: &str) -> String {
    let upper = text.to_uppercase();
    let trimmed = upper.strip_suffix('B').unwrap_or(&upper);
    match trimmed.strip_suffix('G').and_then(|n| n.parse::<u64>().ok()) {
        Some(gigabytes) => format!("{}M", gigabytes * 1024),
        None if trimmed.ends_with('M') => trimmed.to_owned(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differences_are_told() {
        let present = json!({"docker": {"image": "x:1"}, "env": {"A": "1"}, "processes": [{"type": "web", "memory": "1024M", "instances": 1}]});
        let wish = json!({"name": "a", "docker": {"image": "x:2"}, "env": {"A": 1, "B": "2"}, "memory": "1G", "instances": 2, "default-route": true});
        let mut steps = Vec::new();
        compare(
            "/applications/0",
            present.as_object().unwrap(),
            wish.as_object().unwrap(),
            &mut steps,
        );
        assert_eq!(
            steps,
            [
                json!({"op": "replace", "path": "/applications/0/docker/image", "was": "x:1", "value": "x:2"}),
                json!({"op": "add", "path": "/applications/0/env/B", "value": "2"}),
                json!({"op": "replace", "path": "/applications/0/instances", "was": 1, "value": 2}),
            ]
        );
    }
}
