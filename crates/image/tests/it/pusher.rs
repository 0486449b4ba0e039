//! Pushes made-up images with plain HTTP requests, independent of the client under test.

use image::Credentials;
use model::Digest;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Where to push, and as whom.
pub struct Pusher {
    http: Client,
    base: String,
    credentials: Option<Credentials>,
}

/// A manifest in a registry.
#[derive(Clone)]
pub struct Pushed {
    pub digest: Digest,
    pub size: usize,
}

pub fn digest(bytes: &[u8]) -> Digest {
    Digest::from_sha256(&Sha256::digest(bytes).into())
}

/// Bytes that do not repeat and are the same in each run.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// An image configuration for a platform with one diff id per layer.
pub fn config(architecture: &str, layers: &[Vec<u8>]) -> Value {
    let ids: Vec<String> = layers
        .iter()
        .map(|layer| digest(&[layer, &b"diff"[..]].concat()).to_string())
        .collect();
    json!({"os": "linux", "architecture": architecture, "created": "2024-05-06T07:08:09Z",
        "config": {"Cmd": ["serve"], "Entrypoint": ["/bin/app"], "Env": ["A=1"], "WorkingDir": "/srv",
            "User": "app", "ExposedPorts": {"8080/tcp": {}, "53/udp": {}}, "Labels": {"team": "x"}},
        "rootfs": {"type": "layers", "diff_ids": ids}})
}

impl Pusher {
    /// For a registry at `http://HOST:PORT` or `https://…`, whose certificate is not checked.
    pub fn new(base: &str, credentials: Option<Credentials>) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .no_proxy()
            .build()
            .expect("a client");
        Self {
            http,
            base: base.to_owned(),
            credentials,
        }
    }

    /// Uploads a blob in one piece.
    pub async fn blob(&self, name: &str, bytes: &[u8]) -> Digest {
        let start = format!("{}/v2/{name}/blobs/uploads/", self.base);
        let answer = self.send(self.http.post(&start)).await;
        let location = answer
            .headers()
            .get(LOCATION)
            .and_then(|l| l.to_str().ok())
            .expect("an upload location");
        let mut url = Url::parse(&start)
            .expect("a URL")
            .join(location)
            .expect("a location");
        url.query_pairs_mut()
            .append_pair("digest", digest(bytes).as_str());
        let answer = self.send(self.http.put(url).body(bytes.to_vec())).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        digest(bytes)
    }

    /// Puts a manifest under a tag or its digest.
    pub async fn manifest(
        &self,
        name: &str,
        tag: Option<&str>,
        media_type: &str,
        document: &Value,
    ) -> Pushed {
        let bytes = document.to_string().into_bytes();
        let digest = digest(&bytes);
        let url = format!(
            "{}/v2/{name}/manifests/{}",
            self.base,
            tag.unwrap_or(digest.as_str())
        );
        let size = bytes.len();
        let answer = self
            .send(self.http.put(url).header(CONTENT_TYPE, media_type).body(bytes))
            .await;
        let status = answer.status();
        assert_eq!(
            status,
            StatusCode::CREATED,
            "{}",
            answer.text().await.unwrap_or_default()
        );
        Pushed { digest, size }
    }

    /// Pushes blobs, configuration and manifest of an image in the OCI format.
    pub async fn image(&self, name: &str, tag: Option<&str>, config: &Value, layers: &[Vec<u8>]) -> Pushed {
        let kinds = [
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.oci.image.layer.v1.tar+gzip",
        ];
        self.image_of(name, tag, (OCI_IMAGE, kinds), (config, layers))
            .await
    }

    /// Pushes an image in the Docker format.
    pub async fn docker_image(
        &self,
        name: &str,
        tag: Option<&str>,
        config: &Value,
        layers: &[Vec<u8>],
    ) -> Pushed {
        let kinds = [
            "application/vnd.docker.container.image.v1+json",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        ];
        self.image_of(name, tag, (DOCKER_IMAGE, kinds), (config, layers))
            .await
    }

    async fn image_of(
        &self,
        name: &str,
        tag: Option<&str>,
        (media_type, [config_type, layer_type]): (&str, [&str; 2]),
        (config, layers): (&Value, &[Vec<u8>]),
    ) -> Pushed {
        let config = config.to_string().into_bytes();
        let config_digest = self.blob(name, &config).await;
        let mut descriptors = Vec::new();
        for layer in layers {
            let digest = self.blob(name, layer).await;
            descriptors
                .push(json!({"mediaType": layer_type, "digest": digest.as_str(), "size": layer.len()}));
        }
        let document = json!({"schemaVersion": 2, "mediaType": media_type, "layers": descriptors,
            "config": {"mediaType": config_type, "digest": config_digest.as_str(), "size": config.len()}});
        self.manifest(name, tag, media_type, &document).await
    }

    async fn send(&self, mut request: reqwest::RequestBuilder) -> Response {
        if let Some(credentials) = &self.credentials {
            request = request.basic_auth(&credentials.username, Some(&credentials.password));
        }
        let answer = request.send().await.expect("the registry answers");
        assert!(
            !answer.status().is_client_error() || answer.status() == StatusCode::BAD_REQUEST,
            "{answer:?}"
        );
        answer
    }
}
