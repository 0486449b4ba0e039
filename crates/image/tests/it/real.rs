//! Whole images in a real registry.

use image::{ErrorKind, ResolveError};
use model::{Compression, Digest, Port, Protocol};
use serde_json::json;
use testkit::docker_registry::{DockerRegistry, Guard};
use testkit::made_up::{config, diff_id, noise};
use testkit::pusher::{DOCKER, OCI, Pushed};

use crate::{client, digest, platform, read_all, reference};

fn entry(pushed: &Pushed, media_type: &str, architecture: &str) -> serde_json::Value {
    let os = if architecture == "unknown" {
        "unknown"
    } else {
        "linux"
    };
    json!({"mediaType": media_type, "digest": pushed.digest, "size": pushed.size,
        "platform": {"os": os, "architecture": architecture}})
}

#[tokio::test]
async fn an_image_is_resolved_and_its_layers_are_read() {
    let registry = DockerRegistry::start(&Guard::Open).await.unwrap();
    let host = registry.host();
    let pusher = registry.pusher().unwrap().format(DOCKER);
    let layers = [noise(1, 300_000), noise(2, 10), Vec::new()];
    let pushed = pusher
        .image("team/app", Some("v1"), &config("amd64", &layers), &layers)
        .await
        .unwrap();
    let client = client(&[&host]);
    let image = reference(&format!("{host}/team/app:v1"));
    let resolved = client.resolve(&image, None, &platform("amd64")).await.unwrap();
    assert_eq!(
        (resolved.index_digest, resolved.manifest_digest.as_str()),
        (None, pushed.digest.as_str())
    );
    assert_eq!(resolved.platform, platform("amd64"));
    assert_eq!(resolved.config.argv(), ["/bin/app", "serve"]);
    assert_eq!(
        (resolved.config.workdir.as_str(), resolved.config.user.as_str()),
        ("/srv", "app")
    );
    assert_eq!(resolved.config.env, ["A=1"]);
    let ports = [
        Port {
            number: 53,
            protocol: Protocol::Udp,
        },
        Port {
            number: 8080,
            protocol: Protocol::Tcp,
        },
    ];
    assert_eq!(resolved.config.ports, ports);
    assert_eq!(resolved.labels.get("team").map(String::as_str), Some("x"));
    assert_eq!(resolved.created.as_deref(), Some("2024-05-06T07:08:09Z"));
    assert_eq!(resolved.layers.len(), 3);
    for (layer, bytes) in resolved.layers.iter().zip(&layers) {
        assert_eq!(
            (&layer.digest, layer.size, layer.compression),
            (&digest(bytes), bytes.len() as u64, Compression::Gzip)
        );
        assert_eq!(layer.diff_id.as_str(), diff_id(bytes));
        let reader = client
            .blob(&image, None, &layer.digest, layer.size)
            .await
            .unwrap();
        let progress = reader.progress();
        assert_eq!(&read_all(reader).await.unwrap(), bytes);
        assert_eq!(progress.load(std::sync::atomic::Ordering::Relaxed), layer.size);
    }
    let by_digest = reference(&format!("{host}/team/app:no-such-tag@{}", pushed.digest));
    let pinned = client
        .resolve(&by_digest, None, &platform("amd64"))
        .await
        .unwrap();
    assert_eq!(pinned.layers, resolved.layers);
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let registry = DockerRegistry::start(&Guard::Open).await.unwrap();
    let host = registry.host();
    let pusher = registry.pusher().unwrap();
    pusher
        .image("app", Some("v1"), &config("amd64", &[]), &[])
        .await
        .unwrap();
    let client = client(&[&host]);
    let missing = digest(b"missing");
    for text in [
        format!("{host}/none"),
        format!("{host}/app:v2"),
        format!("{host}/app@{missing}"),
    ] {
        let error = client
            .resolve(&reference(&text), None, &platform("amd64"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains(&text), "{error}");
    }
    let error = client
        .blob(&reference(&format!("{host}/app")), None, &missing, 5)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ResolveError::NotFound { what } if what.contains(missing.as_str())),
        "{error}"
    );
}

#[tokio::test]
async fn an_index_gives_the_image_of_the_platform() {
    let registry = DockerRegistry::start(&Guard::Open).await.unwrap();
    let host = registry.host();
    let pusher = registry.pusher().unwrap();
    let layers = [noise(3, 1000)];
    let arm = pusher
        .image("app", None, &config("arm64", &layers), &layers)
        .await
        .unwrap();
    let amd = pusher
        .image("app", None, &config("amd64", &layers), &layers)
        .await
        .unwrap();
    let attestation = pusher
        .image(
            "app",
            None,
            &json!({"architecture": "unknown", "os": "unknown"}),
            &layers,
        )
        .await
        .unwrap();
    let mut attested = entry(&attestation, OCI.manifest, "unknown");
    attested["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let entries = [
        attested,
        entry(&arm, OCI.manifest, "arm64"),
        entry(&amd, OCI.manifest, "amd64"),
    ];
    let client = client(&[&host]);
    for (tag, media_type) in [("oci", OCI.index), ("docker", DOCKER.index)] {
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries});
        let pushed = pusher
            .manifest("app", Some(tag), media_type, &index)
            .await
            .unwrap();
        let image = reference(&format!("{host}/app:{tag}"));
        let resolved = client.resolve(&image, None, &platform("amd64")).await.unwrap();
        assert_eq!(
            (
                resolved.index_digest.as_ref().map(Digest::as_str),
                resolved.manifest_digest.as_str()
            ),
            (Some(pushed.digest.as_str()), amd.digest.as_str())
        );
        let resolved = client.resolve(&image, None, &platform("arm64")).await.unwrap();
        assert_eq!(resolved.manifest_digest.as_str(), arm.digest);
        let error = client
            .resolve(&image, None, &platform("s390x"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongPlatform);
        assert!(
            error
                .to_string()
                .contains("linux/s390x, it has linux/arm64, linux/amd64;"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_single_manifest_for_another_platform_is_refused() {
    let registry = DockerRegistry::start(&Guard::Open).await.unwrap();
    let host = registry.host();
    let pusher = registry.pusher().unwrap();
    let arm = pusher
        .image("app", Some("arm"), &config("arm64", &[]), &[])
        .await
        .unwrap();
    // An index that lies about its entry.
    let index = json!({"schemaVersion": 2, "mediaType": OCI.index, "manifests": [entry(&arm, OCI.manifest, "amd64")]});
    pusher
        .manifest("app", Some("liar"), OCI.index, &index)
        .await
        .unwrap();
    let client = client(&[&host]);
    for tag in ["arm", "liar"] {
        let image = reference(&format!("{host}/app:{tag}"));
        match client.resolve(&image, None, &platform("amd64")).await {
            Err(ResolveError::WrongPlatform { available, .. }) => assert_eq!(available, [platform("arm64")]),
            other => panic!("{tag}: {other:?}"),
        }
    }
}
