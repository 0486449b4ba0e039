//! The registry client against Debian's `docker-registry` and, for faults no real registry gives on demand, against a
//! scripted HTTP server. Loopback only; every server ends with its test.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on panics, its helpers too"
)]

mod addresses;
mod auth;
mod blobs;
mod explain;
mod faults;
mod hostile;
mod key_pairs;
mod live;
mod mirrors;
mod proxy;
mod real;
mod redirects;
mod resolving;
mod retries;
mod rules;
mod scripted;
mod tls;

use std::io::Read;
use std::time::Duration;

use image::{BlobReader, Client, Credentials, Reference, Settings, Timeouts};
use model::{Digest, Platform, RegistrySettings};

/// Settings with short waits, for which `hosts` are insecure.
pub fn settings(hosts: &[&str]) -> Settings {
    testkit::tls();
    Settings {
        registry: RegistrySettings {
            insecure: hosts.iter().map(|host| (*host).to_owned()).collect(),
            ..RegistrySettings::default()
        },
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            response: Duration::from_secs(10),
            stall: Duration::from_secs(10),
            first_pause: Duration::from_millis(5),
            longest_pause: Duration::from_secs(5),
            ..Timeouts::default()
        },
        ..Settings::default()
    }
}

/// A client for which `hosts` are insecure.
pub fn client(hosts: &[&str]) -> Client {
    Client::new(settings(hosts)).expect("settings are good")
}

/// A client that may connect to this machine, where no host is insecure.
pub fn loopback_client() -> Client {
    let mut settings = settings(&[]);
    settings.registry.addresses.allow = vec!["127.0.0.0/8".to_owned(), "::1".to_owned()];
    Client::new(settings).expect("settings are good")
}

/// A client with a document of its own.
pub fn client_with(hosts: &[&str], change: impl FnOnce(&mut RegistrySettings)) -> Client {
    let mut settings = settings(hosts);
    change(&mut settings.registry);
    Client::new(settings).expect("settings are good")
}

/// A reference whose default registry does not matter.
pub fn reference(text: &str) -> Reference {
    Reference::parse(text, "docker.io").expect("a reference")
}

/// A user name and password.
pub fn credentials(username: &str, password: &str) -> Credentials {
    Credentials {
        username: username.to_owned(),
        password: password.to_owned(),
    }
}

/// What a registry calls a blob with these bytes.
pub fn digest(bytes: &[u8]) -> Digest {
    let text = testkit::image::digest(bytes);
    text.parse().expect("a digest")
}

/// Linux on an architecture.
pub fn platform(architecture: &str) -> Platform {
    Platform {
        os: "linux".to_owned(),
        architecture: architecture.to_owned(),
        variant: String::new(),
    }
}

/// An image of one layer: a manifest, its configuration, the layer.
pub struct OneLayer {
    /// JSON.
    pub manifest: Vec<u8>,
    /// JSON.
    pub config: Vec<u8>,
    /// As the registry serves it.
    pub layer: Vec<u8>,
}

impl OneLayer {
    /// The image around a layer.
    pub fn new(layer: Vec<u8>) -> Self {
        let config = testkit::made_up::config("amd64", std::slice::from_ref(&layer));
        let config = config.to_string().into_bytes();
        let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": testkit::pusher::OCI.manifest,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config).as_str(),
                "size": config.len()},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": digest(&layer).as_str(), "size": layer.len()}]});
        Self {
            manifest: manifest.to_string().into_bytes(),
            config,
            layer,
        }
    }

    /// What an honest registry answers.
    pub fn answer(&self, asked: &scripted::Asked) -> scripted::Answer {
        use scripted::Answer;
        let is = |bytes: &[u8]| asked.path.ends_with(digest(bytes).as_str());
        if is(&self.config) {
            return Answer::new(200, self.config.clone());
        }
        if is(&self.layer) {
            return Answer::range(&self.layer, asked.range_from());
        }
        Answer::new(200, self.manifest.clone()).with("content-type", testkit::pusher::OCI.manifest)
    }
}

/// Reads a blob to its end.
pub async fn read_all(mut reader: BlobReader) -> std::io::Result<Vec<u8>> {
    let read = move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    };
    tokio::task::spawn_blocking(read)
        .await
        .expect("the reader does not panic")
}
