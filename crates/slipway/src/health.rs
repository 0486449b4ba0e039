//! `GET /healthz`: 200 only while every role serves.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use store::Store;
use wire::Channel;
use wire::v1::DescribeRequest;
use wire::v1::cell_client::CellClient;

/// How long one role may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Clone)]
pub struct Health {
    pub store: Store,
    pub cell: CellClient<Channel>,
    pub scheduler: Arc<scheduler::Scheduler>,
    pub table: Arc<router::Table>,
}

/// The endpoint.
pub fn router(health: Health) -> Router {
    Router::new().route("/healthz", get(show)).with_state(health)
}

async fn show(State(health): State<Health>) -> (StatusCode, Json<Value>) {
    let roles = health.look().await;
    let well = roles.iter().all(|(_, serves)| *serves);
    let status = if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let roles: serde_json::Map<String, Value> =
        roles.into_iter().map(|(n, s)| (n.to_owned(), s.into())).collect();
    (status, Json(json!({"healthy": well, "roles": roles})))
}

impl Health {
    /// Each role and whether it serves.
    pub async fn look(&self) -> [(&'static str, bool); 4] {
        let database = async { self.store.read().await.ok()?.ping().await.ok() };
        let mut cell = self.cell.clone();
        let (database, cell) = tokio::join!(
            tokio::time::timeout(PATIENCE, database),
            tokio::time::timeout(PATIENCE, cell.describe(DescribeRequest {})),
        );
        [
            ("database", matches!(database, Ok(Some(())))),
            ("cell", matches!(cell, Ok(Ok(_)))),
            ("scheduler", self.scheduler.is_ready()),
            ("router", self.table.revision().is_some()),
        ]
    }
}
