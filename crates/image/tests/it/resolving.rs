//! Answers no honest registry gives.

use image::{Client, ErrorKind, ResolveError};
use serde_json::{Value, json};
use testkit::made_up::config;
use testkit::pusher::OCI;

use crate::scripted::{Answer, Server};
use crate::{client, digest, platform, reference};

/// Serves one manifest for every tag and digest, and a configuration for every blob.
async fn serving(media_type: &'static str, manifest: Vec<u8>, config: Vec<u8>) -> Server {
    Server::start(move |asked| match asked.path.contains("/manifests/") {
        true => Answer::new(200, manifest.clone()).with("content-type", media_type),
        false => Answer::new(200, config.clone()),
    })
    .await
}

async fn refusal(server: &Server, suffix: &str) -> ResolveError {
    let client: Client = client(&[&server.host]);
    let image = reference(&format!("{}/app{suffix}", server.host));
    client
        .resolve(&image, None, &platform("amd64"))
        .await
        .unwrap_err()
}

fn manifest_of(config: &[u8]) -> Value {
    json!({"schemaVersion": 2, "mediaType": OCI.manifest, "layers": [], "config":
        {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config).as_str(), "size": config.len()}})
}

#[tokio::test]
async fn schema_1_is_refused_by_name() {
    let body = json!({"schemaVersion": 1, "name": "app", "tag": "latest", "fsLayers": [], "history": []});
    let kind = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let server = serving(kind, body.to_string().into_bytes(), vec![]).await;
    let error = refusal(&server, "").await;
    assert_eq!(error.kind(), ErrorKind::Schema1);
    assert!(error.to_string().contains("schema 1"), "{error}");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn bytes_that_are_not_the_digest_are_refused() {
    let config = config("amd64", &[]).to_string().into_bytes();
    let manifest = manifest_of(&config).to_string().into_bytes();
    let server = serving(OCI.manifest, manifest.clone(), config.clone()).await;
    let error = refusal(&server, &format!("@{}", digest(b"other"))).await;
    assert!(
        matches!(&error, ResolveError::Malformed { what, .. } if what.contains("digest")),
        "{error}"
    );

    let lying = manifest.clone();
    let server = Server::start(move |_| {
        Answer::new(200, lying.clone())
            .with("content-type", OCI.manifest)
            .with("docker-content-digest", digest(b"other").as_str())
    })
    .await;
    assert_eq!(refusal(&server, "").await.kind(), ErrorKind::Malformed);

    // Still a good configuration, of the same size.
    let forged = String::from_utf8(config)
        .unwrap()
        .replace("/srv", "/etc")
        .into_bytes();
    let server = serving(OCI.manifest, manifest, forged).await;
    let error = refusal(&server, "").await;
    assert!(
        error.to_string().contains("its configuration has the digest"),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_no_image_is_refused_before_any_layer() {
    let wrong_count = config("amd64", &[vec![1]]).to_string().into_bytes();
    let nested = json!({"schemaVersion": 2, "mediaType": OCI.index, "manifests": []})
        .to_string()
        .into_bytes();
    for (media_type, body, config, kind) in [
        (
            "text/html",
            b"<html>hello</html>".to_vec(),
            vec![],
            ErrorKind::Malformed,
        ),
        (OCI.manifest, vec![b' '; 5 << 20], vec![], ErrorKind::Malformed),
        (
            OCI.manifest,
            manifest_of(&wrong_count).to_string().into_bytes(),
            wrong_count,
            ErrorKind::Malformed,
        ),
        (OCI.index, nested, vec![], ErrorKind::WrongPlatform),
    ] {
        let server = serving(media_type, body, config).await;
        let error = refusal(&server, "").await;
        assert_eq!(error.kind(), kind, "{error}");
        assert!(!error.to_string().contains('\n'));
    }
}

#[tokio::test]
async fn endless_nesting_ends() {
    // Each index names the next; none is an image.
    let mut documents = Vec::new();
    let mut inner = json!({"schemaVersion": 2, "manifests": []}).to_string();
    for _ in 0..8 {
        documents.push(inner.clone());
        let entry =
            json!({"mediaType": OCI.index, "digest": digest(inner.as_bytes()).as_str(), "size": inner.len()});
        inner = json!({"schemaVersion": 2, "mediaType": OCI.index, "manifests": [entry]}).to_string();
    }
    let outer = inner;
    let server = Server::start(move |asked| {
        let found = documents
            .iter()
            .find(|text| asked.path.ends_with(digest(text.as_bytes()).as_str()));
        Answer::new(200, found.unwrap_or(&outer).clone()).with("content-type", OCI.index)
    })
    .await;
    let error = refusal(&server, "").await;
    assert!(
        matches!(&error, ResolveError::Unsupported { what, .. } if what.contains("nested")),
        "{error}"
    );
}
