//! The distribution-spec over HTTP: finds out what a request is about, whether it may, and who answers it.

mod blob;
mod manifest;
mod path;
mod tags;
mod unread;
mod upload;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::header::EXPECT;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use crate::access::{Access, Action, Presented, Verdict};
use crate::disk::Storage;
use crate::failure::Failure;
use crate::name::Repository;
use crate::upload::Uploads;
use path::Target;
use unread::Unread;

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What all requests share.
#[derive(Clone)]
struct Shared {
    storage: Arc<Storage>,
    uploads: Arc<Uploads>,
    access: Arc<dyn Access>,
}

/// One request that was let in, but for its body: that is handed on by itself, as it cannot be shared.
struct Call {
    shared: Shared,
    repository: Repository,
    presented: Presented,
    method: Method,
    query: Vec<(String, String)>,
    headers: HeaderMap,
}

/// The routes of the registry, all below `/v2/`. Bodies stream both ways; a caller that adds limits on time or size of
/// bodies must leave these routes out.
pub fn router(storage: Storage, access: Arc<dyn Access>) -> Router {
    let shared = Shared {
        storage: Arc::new(storage),
        uploads: Arc::default(),
        access,
    };
    Router::new()
        .route("/v2", any(base))
        .route("/v2/", any(base))
        .route("/v2/{*rest}", any(answer))
        .layer(map_response(stamp))
        .with_state(shared)
}

async fn stamp(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-content-type-options"), nosniff);
    response
}

/// Says that this is a registry, to those it knows.
async fn base(State(shared): State<Shared>, request: Request) -> Result<Response, Failure> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Failure::Unsupported("this method"));
    }
    let presented = Presented::read(request.headers());
    match shared.access.authorize(presented, "", Action::Pull).await {
        Verdict::Unauthenticated => Err(Failure::Unauthenticated),
        Verdict::Allow | Verdict::Deny => Ok(axum::Json(serde_json::json!({})).into_response()),
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = Unread::new(body);
    // A client that waits for a go-ahead has not begun to send, and shall not.
    let waits = parts.headers.contains_key(EXPECT);
    let response = handle(shared, parts, &body).await.into_response();
    if !waits && !response.status().is_success() {
        body.discard().await;
    }
    response
}

async fn handle(shared: Shared, parts: Parts, body: &Unread) -> Result<Response, Failure> {
    let (repository, target) = path::parse(parts.uri.path())?;
    let presented = Presented::read(&parts.headers);
    let action = match (&parts.method, &target) {
        (_, Target::Uploads | Target::Upload(_)) => Action::Push,
        (&Method::GET | &Method::HEAD, _) => Action::Pull,
        _ => Action::Push,
    };
    admit(&shared, &presented, (&repository, action)).await?;
    let query = pairs(&parts.uri);
    let call = Call {
        shared,
        repository,
        presented,
        method: parts.method,
        query,
        headers: parts.headers,
    };
    dispatch(call, target, body).await
}

async fn admit(shared: &Shared, presented: &Presented, wish: (&Repository, Action)) -> Result<(), Failure> {
    let (repository, action) = wish;
    match (
        shared
            .access
            .authorize(presented.clone(), repository.as_str(), action)
            .await,
        action,
    ) {
        (Verdict::Allow, _) => Ok(()),
        (Verdict::Unauthenticated, _) => Err(Failure::Unauthenticated),
        (Verdict::Deny, Action::Pull) => Err(Failure::NameUnknown(repository.as_str().to_owned())),
        (Verdict::Deny, Action::Push) => Err(Failure::Denied(repository.as_str().to_owned())),
    }
}

async fn dispatch(call: Call, target: Target, body: &Unread) -> Result<Response, Failure> {
    match (call.method.as_str(), target) {
        ("GET" | "HEAD", Target::Blob(digest)) => blob::get(call, digest).await,
        ("GET" | "HEAD", Target::Manifest(reference)) => manifest::get(call, &reference).await,
        ("PUT", Target::Manifest(reference)) => manifest::put(call, &reference, body).await,
        ("GET" | "HEAD", Target::Tags) => tags::list(call).await,
        ("POST", Target::Uploads) => upload::begin(call, body).await,
        ("GET" | "HEAD", Target::Upload(id)) => upload::status(call, &id).await,
        ("PATCH", Target::Upload(id)) => upload::append(call, &id, body).await,
        ("PUT", Target::Upload(id)) => upload::finish(call, &id, body).await,
        ("DELETE", Target::Upload(id)) => upload::cancel(call, &id).await,
        ("DELETE", _) => Err(Failure::Unsupported("deletion")),
        // Clients take this 404 as "no referrers API" and use tags instead, as the spec wants.
        ("GET" | "HEAD", Target::Referrers) => Err(Failure::NoSuchEndpoint),
        _ => Err(Failure::Unsupported("this method")),
    }
}

fn pairs(uri: &Uri) -> Vec<(String, String)> {
    Query::try_from_uri(uri)
        .map(|Query(pairs)| pairs)
        .unwrap_or_default()
}

impl Call {
    /// A parameter of the query.
    fn param(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A header as text.
    fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A header value from text that cannot hold what headers must not.
fn value(text: impl AsRef<str>) -> HeaderValue {
    HeaderValue::from_str(text.as_ref()).expect("names, digests, numbers and ids are visible ASCII")
}

/// An empty reply with headers.
fn reply<const N: usize>(status: StatusCode, headers: [(HeaderName, HeaderValue); N]) -> Response {
    (status, headers, Body::empty()).into_response()
}

/// Runs what waits for the disk where it disturbs nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => {
            tracing::error!(%error, "a task of the registry's storage did not end");
            Err(Failure::Internal)
        }
    }
}
