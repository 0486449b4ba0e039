//! The registry client against Debian's `docker-registry` and, for faults no real registry gives on demand, against a
//! scripted HTTP server. Loopback only; every server ends with its test.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on panics, its helpers too"
)]

mod auth;
mod blobs;
mod proxy;
mod real;
mod redirects;
mod resolving;
mod retries;
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
