//! The v3 API over HTTP: one noun, one file.
//!
//! Knows requests, permissions, what the API's texts are, and desired rows. Never talks to a cell to change anything:
//! it writes desired state and returns; the scheduler does the rest. The only look at cells is for figures: usage, cached images.

pub mod app;
pub mod audit_event;
pub mod body;
pub mod build;
pub mod cached_image;
pub mod caller;
pub mod catalog;
pub mod desired;
pub mod destination;
pub mod domain;
pub mod droplet;
pub mod endpoint;
pub mod env;
pub mod error;
pub mod event;
pub mod feature;
pub mod flag;
pub mod instance;
pub mod job;
pub mod list;
mod manifest;
pub mod notice;
pub mod org;
pub mod package;
pub mod present;
pub mod process;
mod process_change;
pub mod quota;
pub mod registry;
mod registry_report;
pub mod role;
mod role_create;
pub mod root;
pub mod route;
mod route_rules;
pub mod space;
mod unserved;
pub mod user;

use std::ops::Deref;
use std::sync::Arc;

use auth::{Sealer, Verifier};
use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::{self, Next};
use axum::response::Response;
use model::RegistrySettings;
use store::{Query, Store, StoreError, new_guid, org_quota};
use wire::LogSink;
use wire::v1::cell_client::CellClient;

use crate::endpoint::Endpoint;
use crate::registry::Images;

/// What the API is told at start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Public address of this API without a trailing slash, for links and discovery.
    pub api_url: String,
    /// Public address of the login server.
    pub login_url: String,
    /// Public address of the identity server.
    pub uaa_url: String,
    /// Public address of the log store; clients ignore its path.
    pub log_cache_url: String,
    /// Domain that apps get routes under by default.
    pub apps_domain: String,
    /// `:8080` when the router listens on another port than 80 or 443, so that shown URLs can be opened. Empty else.
    pub router_port_suffix: String,
    /// Hosts that belong to the platform itself; no route may take one.
    pub platform_hosts: Vec<String>,
    /// What the platform was started with about registries; the stored document goes over it.
    pub registry: RegistrySettings,
    /// Memory of a process that asks for none, MiB.
    pub default_memory_mb: i64,
    /// Disk of a process that asks for none, MiB.
    pub default_disk_mb: i64,
    /// Most disk a process may ask for, MiB.
    pub maximum_disk_mb: i64,
}

/// Everything handlers need.
pub struct Parts {
    /// Desired and actual state.
    pub store: Store,
    /// Checks tokens.
    pub verifier: Verifier,
    /// Seals secrets at rest.
    pub sealer: Arc<Sealer>,
    /// Where API and staging lines go.
    pub logs: LogSink,
    /// The cell, for figures only.
    pub cell: CellClient<wire::Channel>,
    /// What the image client knows.
    pub images: Arc<dyn Images>,
    /// As told at start.
    pub settings: Settings,
}

/// [`Parts`], shared.
#[derive(Clone)]
pub struct State(Arc<Parts>);

impl State {
    /// Shares the parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for State {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// All endpoints served.
pub fn endpoints() -> Vec<Endpoint> {
    [
        root::endpoints(),
        job::endpoints(),
        flag::endpoints(),
        org::endpoints(),
        space::endpoints(),
        role::endpoints(),
        user::endpoints(),
        quota::endpoints(),
        domain::endpoints(),
        route::endpoints(),
        destination::endpoints(),
        app::endpoints(),
        env::endpoints(),
        feature::endpoints(),
        process::endpoints(),
        instance::endpoints(),
        package::endpoints(),
        build::endpoints(),
        droplet::endpoints(),
        manifest::endpoints(),
        audit_event::endpoints(),
        catalog::endpoints(),
        registry::endpoints(),
        registry_report::endpoints(),
        cached_image::endpoints(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The API as a router.
pub fn router(state: State) -> Router {
    endpoint::router(endpoints())
        .fallback(unserved::answer)
        .method_not_allowed_fallback(unserved::answer)
        .layer(middleware::from_fn(request_id))
        .with_state(state)
}

/// Makes the rows that every installation has. Idempotent.
pub async fn seed(store: &Store, settings: &Settings) -> Result<(), StoreError> {
    let tx = store.write().await?;
    flag::seed(&tx).await?;
    if tx.count(Query::<org_quota::Entity>::new()).await? == 0 {
        let (guid, name) = (new_guid(), "default".to_owned());
        tx.insert::<org_quota::Entity>(org_quota::Model {
            id: 0,
            guid,
            created_at: 0,
            updated_at: 0,
            name,
        })
        .await?;
    }
    seed_domain(&tx, &settings.apps_domain).await?;
    tx.commit().await
}

async fn seed_domain(tx: &store::Tx, name: &str) -> Result<(), StoreError> {
    use store::domain::{Column, Entity, Model};
    if tx
        .one(Query::<Entity>::new().eq(Column::Name, name))
        .await?
        .is_none()
    {
        let (guid, name) = (new_guid(), name.to_owned());
        let row = Model {
            id: 0,
            guid,
            created_at: 0,
            updated_at: 0,
            name,
            internal: false,
            org_guid: None,
        };
        tx.insert::<Entity>(row).await?;
    }
    Ok(())
}

/// Gives each answer a request id, which clients print with unexpected errors.
async fn request_id(request: Request, next: Next) -> Response {
    let sent = request
        .headers()
        .get("x-vcap-request-id")
        .and_then(|id| id.to_str().ok())
        .unwrap_or_default();
    let usable =
        !sent.is_empty() && sent.len() <= 100 && sent.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let id = if usable {
        format!("{sent}::{}", new_guid())
    } else {
        new_guid()
    };
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-vcap-request-id", value);
    }
    response
}
