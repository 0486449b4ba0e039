//! A registry with two users, over a real socket or without one, and images to push.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use base::Tasks;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use model::Digest;
use registry::{Access, Action, Presented, Settings, Storage, Verdict};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tower::ServiceExt;

/// `alice` and `bob` own what is below their names; both may pull `shared`, which alice owns.
pub struct TwoUsers;

impl Access for TwoUsers {
    fn authorize<'a>(
        &'a self,
        presented: Presented,
        repository: &'a str,
        action: Action,
    ) -> BoxFuture<'a, Verdict> {
        async move {
            let user = match presented {
                Presented::Basic { username, password } if password == format!("{username}-secret") => {
                    username
                }
                Presented::Bearer(token) if token == "alice-token" => "alice".to_owned(),
                _ => return Verdict::Unauthenticated,
            };
            let owner = repository.split('/').next().unwrap_or_default();
            match (owner, action) {
                ("", _) => Verdict::Allow,
                ("shared", Action::Pull) => Verdict::Allow,
                ("shared", Action::Push) if user == "alice" => Verdict::Allow,
                _ if owner == user => Verdict::Allow,
                _ => Verdict::Deny,
            }
        }
        .boxed()
    }
}

/// `Authorization` of the two.
pub const ALICE: &str = "Basic YWxpY2U6YWxpY2Utc2VjcmV0";
pub const BOB: &str = "Basic Ym9iOmJvYi1zZWNyZXQ=";

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub fn open(dir: &Path) -> Router {
    registry::router(Storage::open(Settings::new(dir)).unwrap(), Arc::new(TwoUsers))
}

/// Serves on a free port until the tasks are shut down.
pub async fn serve(tasks: &Tasks, router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let token = tasks.token();
    tasks.spawn_graceful("registry", async move {
        axum::serve(listener, router)
            .with_graceful_shutdown(token.cancelled_owned())
            .await
            .unwrap();
    });
    address
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
            .to_str()
            .unwrap()
    }

    /// Code of the first error, `""` when there is none.
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A client with one `Authorization`.
#[derive(Clone)]
pub struct Client {
    pub router: Router,
    pub authorization: Option<&'static str>,
}

impl Client {
    pub fn new(router: &Router, authorization: &'static str) -> Self {
        Self {
            router: router.clone(),
            authorization: Some(authorization),
        }
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = self.authorization {
            request = request.header("authorization", authorization);
        }
        let response = self
            .router
            .clone()
            .oneshot(request.body(body.into()).unwrap())
            .await
            .unwrap();
        let (parts, body) = response.into_parts();
        assert_eq!(parts.headers["docker-distribution-api-version"], "registry/2.0");
        let chunks: Vec<_> = body.into_data_stream().map(Result::unwrap).collect().await;
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: chunks.concat(),
        }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], Body::empty()).await
    }

    /// Pushes a blob in one request.
    pub async fn push_blob(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = digest(content);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let reply = self.send("POST", &path, &[], content.to_vec()).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        digest
    }

    /// Pushes an image of one layer and returns the digest of its manifest.
    pub async fn push_image(&self, repository: &str, tag: &str, layer: &[u8]) -> Digest {
        self.push_blob(repository, b"{}").await;
        self.push_blob(repository, layer).await;
        let manifest = manifest(b"{}", layer);
        let path = format!("/v2/{repository}/manifests/{tag}");
        let reply = self
            .send("PUT", &path, &[("content-type", OCI_MANIFEST)], manifest.clone())
            .await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        digest(&manifest)
    }
}

pub fn digest(content: &[u8]) -> Digest {
    Digest::from_sha256(&Sha256::digest(content).into())
}

/// The manifest of an image with a config and one layer.
pub fn manifest(config: &[u8], layer: &[u8]) -> Vec<u8> {
    let descriptor = |media_type: &str, content: &[u8]| json!({"mediaType": media_type, "digest": digest(content).as_str(), "size": content.len()});
    let document = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer)],
    });
    document.to_string().into_bytes()
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 32);
    for n in 0u64.. {
        if bytes.len() >= len {
            break;
        }
        bytes.extend_from_slice(&Sha256::digest([seed.to_le_bytes(), n.to_le_bytes()].concat()));
    }
    bytes.truncate(len);
    bytes
}

pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Waits until `done`, within a bound.
pub async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let bounded = tokio::time::timeout(Duration::from_secs(20), async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(bounded.await.is_ok(), "never happened: {what}");
}

/// Regular files below a directory.
pub fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.push(path)
        }
    }
    found
}
