//! Pushes made-up images with plain HTTP requests, independent of the client under test.

use image::Credentials;
use model::Digest;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Where to push, and as whom.
pub struct Pusher {
    http: Client,
    base: String,
    credentials: Credentials,
}

fn digest(bytes: &[u8]) -> Digest {
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

/// An image configuration for an architecture with one diff id per layer.
pub fn config(architecture: &str, layers: &[Vec<u8>]) -> Value {
    let ids: Vec<String> = layers
        .iter()
        .map(|layer| digest(&[layer, &b"diff"[..]].concat()).to_string())
        .collect();
    json!({"os": "linux", "architecture": architecture,
        "config": {"Cmd": ["serve"], "Entrypoint": ["/bin/app"], "Env": ["A=1"], "WorkingDir": "/srv",
            "User": "app", "ExposedPorts": {"8080/tcp": {}, "53/udp": {}}},
        "rootfs": {"type": "layers", "diff_ids": ids}})
}

impl Pusher {
    /// For a registry at `http://HOST:PORT`.
    pub fn new(base: &str, credentials: Credentials) -> Self {
        let http = Client::builder().no_proxy().build().expect("a client");
        Self {
            http,
            base: base.to_owned(),
            credentials,
        }
    }

    /// Pushes blobs, configuration and manifest of an image under a tag.
    pub async fn image(&self, name: &str, tag: &str, config: &Value, layers: &[Vec<u8>]) {
        let config = config.to_string().into_bytes();
        let config_digest = self.blob(name, &config).await;
        let mut descriptors = Vec::new();
        for layer in layers {
            let digest = self.blob(name, layer).await;
            descriptors.push(json!({"mediaType": LAYER, "digest": digest.as_str(), "size": layer.len()}));
        }
        let manifest = json!({"schemaVersion": 2, "mediaType": IMAGE, "layers": descriptors,
            "config": {"mediaType": CONFIG, "digest": config_digest.as_str(), "size": config.len()}});
        let url = format!("{}/v2/{name}/manifests/{tag}", self.base);
        let put = self
            .http
            .put(url)
            .header(CONTENT_TYPE, IMAGE)
            .body(manifest.to_string());
        assert_eq!(self.send(put).await.status(), StatusCode::CREATED);
    }

    /// Uploads a blob in one piece.
    async fn blob(&self, name: &str, bytes: &[u8]) -> Digest {
        let start = format!("{}/v2/{name}/blobs/uploads/", self.base);
        let answer = self.send(self.http.post(&start)).await;
        let location = answer.headers().get(LOCATION).and_then(|l| l.to_str().ok());
        let mut url = Url::parse(&start)
            .expect("a URL")
            .join(location.expect("an upload location"))
            .expect("a location");
        url.query_pairs_mut()
            .append_pair("digest", digest(bytes).as_str());
        let answer = self.send(self.http.put(url).body(bytes.to_vec())).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        digest(bytes)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Response {
        let Credentials { username, password } = &self.credentials;
        let request = request.basic_auth(username, Some(password));
        request.send().await.expect("the registry answers")
    }
}
