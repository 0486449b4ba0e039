//! Jobs: what a client polls after a 202. The platform does such work before it answers, so a job is born with its
//! outcome and the first poll ends the wait.

use axum::Json;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use store::{Tx, job, new_guid};

use crate::caller::Caller;
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::present::{link, time};
use crate::{Settings, State};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![Endpoint::get("/v3/jobs/{guid}", show)]
}

async fn show(
    axum::extract::State(state): axum::extract::State<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.read().await?;
    let row = tx.get::<job::Entity>(&guid).await?;
    if row.owner_guid != caller.identity.guid().as_str() && !caller.identity.is_admin() {
        return Err(ApiError::not_found("Job"));
    }
    Ok(Json(present(&state.settings, &row)))
}

fn present(settings: &Settings, row: &job::Model) -> Value {
    let list = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| json!([]));
    json!({
        "guid": row.guid, "created_at": time(row.created_at), "updated_at": time(row.updated_at),
        "operation": row.operation, "state": row.state,
        "errors": list(&row.errors), "warnings": list(&row.warnings),
        "links": {"self": link(&settings.api_url, &format!("/v3/jobs/{}", row.guid))},
    })
}

/// Records a finished job. `operation` is `noun.verb`, for example `app.delete`.
pub async fn done(tx: &Tx, caller: &Caller, operation: &str) -> Result<Accepted, ApiError> {
    insert(tx, caller, operation, "COMPLETE", json!([])).await
}

/// Records a job that failed; a failed job always carries an error, since clients read the first one.
pub async fn failed(
    tx: &Tx,
    caller: &Caller,
    operation: &str,
    error: &ApiError,
) -> Result<Accepted, ApiError> {
    insert(tx, caller, operation, "FAILED", error.to_json()).await
}

async fn insert(
    tx: &Tx,
    caller: &Caller,
    operation: &str,
    state: &str,
    errors: Value,
) -> Result<Accepted, ApiError> {
    let row = job::Model {
        id: 0,
        guid: new_guid(),
        created_at: 0,
        updated_at: 0,
        operation: operation.to_owned(),
        state: state.to_owned(),
        owner_guid: caller.identity.guid().as_str().to_owned(),
        errors: errors.to_string(),
        warnings: "[]".to_owned(),
    };
    Ok(Accepted {
        guid: tx.insert::<job::Entity>(row).await?.guid,
    })
}

/// The answer `202` with the job's address. Only such answers carry a `Location`, since clients poll any they see.
#[derive(Debug)]
pub struct Accepted {
    guid: String,
}

impl Accepted {
    /// The HTTP answer.
    pub fn response(&self, state: &State) -> Response {
        let location = format!("{}/v3/jobs/{}", state.settings.api_url, self.guid);
        (StatusCode::ACCEPTED, [(header::LOCATION, location)]).into_response()
    }
}
