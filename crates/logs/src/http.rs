//! The Log Cache API over HTTP: `/api/v1/info`, `/api/v1/read/{source_id}`, `/api/v1/meta`.
//!
//! A source one may not read looks like one that does not exist. Whoever sends no token at all is told so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, Query as Pairs, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use serde_json::json;

use crate::query::Query;
use crate::{Store, render};

/// Says who may read a source.
pub trait ReadAccess: Send + Sync + 'static {
    /// Whether the bearer of `authorization` (the value of that header, `bearer …`) may read `source_id`. A token
    /// that is not valid may read nothing.
    fn may_read<'a>(&'a self, authorization: Option<&'a str>, source_id: &'a str) -> BoxFuture<'a, bool>;
}

/// How long a walking client is kept when there is nothing new: below the 250 ms after which the CLI would ask again.
const PATIENCE: Duration = Duration::from_millis(200);

/// Permission questions asked at a time for one list of sources.
const QUESTIONS: usize = 16;

/// The version of the API spoken here; clients use another path below 2.0.0.
const VERSION: &str = "3.2.1";

#[derive(Clone)]
struct Shared {
    store: Arc<Store>,
    access: Arc<dyn ReadAccess>,
    started: Instant,
}

/// The whole API, to be merged into an origin's routes.
pub fn router(store: Arc<Store>, access: Arc<dyn ReadAccess>) -> Router {
    Router::new()
        .route("/api/v1/info", get(info))
        .route("/api/v1/meta", get(meta))
        .route("/api/v1/read/{source_id}", get(read))
        .with_state(Shared {
            store,
            access,
            started: Instant::now(),
        })
}

async fn info(State(shared): State<Shared>) -> Response {
    let reply = json!({"version": VERSION, "vm_uptime": shared.started.elapsed().as_secs().to_string()});
    body(reply.to_string().into_bytes())
}

async fn read(
    State(shared): State<Shared>,
    Path(source_id): Path<String>,
    pairs: Result<Pairs<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let Some(token) = token(&headers) else {
        return unauthenticated();
    };
    let query = match pairs
        .map_err(|e| e.body_text())
        .and_then(|p| Query::parse(&p.0).map_err(|e| e.to_string()))
    {
        Ok(query) => query,
        Err(message) => return failure(StatusCode::BAD_REQUEST, 3, &message),
    };
    if !shared.access.may_read(Some(token), &source_id).await {
        let message = format!("source {source_id:?} does not exist, or this token may not read it");
        return failure(StatusCode::NOT_FOUND, 5, &message);
    }
    let lines = match (query.wants_logs, query.may_wait) {
        (false, _) => Vec::new(),
        (true, true) => {
            shared
                .store
                .read_or_wait(&source_id, &query.range, PATIENCE)
                .await
        }
        (true, false) => shared.store.read(&source_id, &query.range),
    };
    body(render::envelopes(&source_id, &lines))
}

async fn meta(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let Some(token) = token(&headers) else {
        return unauthenticated();
    };
    let access = &shared.access;
    let readable: Vec<_> = stream::iter(shared.store.meta())
        .map(|(id, meta)| async move {
            let may = access.may_read(Some(token), &id).await;
            may.then_some((id, meta))
        })
        .buffered(QUESTIONS)
        .filter_map(std::future::ready)
        .collect()
        .await;
    body(render::meta(&readable))
}

fn token(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(AUTHORIZATION)?
        .to_str()
        .ok()
        .filter(|value| !value.trim().is_empty())
}

fn body(json: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, "application/json")], json).into_response()
}

fn unauthenticated() -> Response {
    failure(
        StatusCode::UNAUTHORIZED,
        16,
        "no Authorization header; send a bearer token",
    )
}

/// `code` is the gRPC code the original's gateway would give.
fn failure(status: StatusCode, code: u8, message: &str) -> Response {
    let text = json!({"code": code, "message": message, "details": []}).to_string();
    (status, body(text.into_bytes())).into_response()
}
