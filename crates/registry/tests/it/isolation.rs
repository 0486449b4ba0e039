//! Who sees what.

use axum::body::Body;
use axum::http::StatusCode;

use crate::house::{ALICE, BOB, Client, digest, open};

struct Two {
    _dir: tempfile::TempDir,
    alice: Client,
    bob: Client,
}

fn two() -> Two {
    let dir = tempfile::tempdir().unwrap();
    let router = open(dir.path());
    Two {
        alice: Client::new(&router, ALICE),
        bob: Client::new(&router, BOB),
        _dir: dir,
    }
}

#[tokio::test]
async fn strangers_are_challenged_everywhere() {
    let Two { alice, _dir, .. } = two();
    let image = alice.push_image("alice/app", "v1", b"layer").await;
    let blob = digest(b"layer");
    for authorization in [
        None,
        Some("Basic YWxpY2U6d3Jvbmc="),
        Some("Bearer guess"),
        Some("garbage"),
    ] {
        let stranger = Client {
            authorization,
            ..alice.clone()
        };
        for (method, path) in [
            ("GET", "/v2/".to_owned()),
            ("GET", "/v2".to_owned()),
            ("GET", format!("/v2/alice/app/blobs/{blob}")),
            ("HEAD", format!("/v2/alice/app/manifests/{image}")),
            ("PUT", "/v2/alice/app/manifests/v1".to_owned()),
            ("DELETE", "/v2/alice/app/manifests/v1".to_owned()),
            ("GET", "/v2/alice/app/tags/list".to_owned()),
            ("GET", format!("/v2/alice/app/referrers/{image}")),
            ("POST", "/v2/alice/app/blobs/uploads/".to_owned()),
            ("PATCH", "/v2/alice/app/blobs/uploads/x".to_owned()),
        ] {
            let reply = stranger.send(method, &path, &[], Body::empty()).await;
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert_eq!(reply.header("www-authenticate"), "Basic realm=\"Slipway\"");
            let code = if method == "HEAD" { "" } else { "UNAUTHORIZED" };
            assert_eq!(reply.code(), code, "{method} {path}");
        }
    }
    for authorization in [ALICE, "Bearer alice-token"] {
        let known = Client {
            authorization: Some(authorization),
            ..alice.clone()
        };
        assert_eq!(known.get("/v2/").await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_denied_pull_looks_like_nothing_and_a_denied_push_is_denied() {
    let Two { alice, bob, _dir } = two();
    alice.push_image("alice/app", "v1", b"layer").await;
    for path in [
        "/v2/alice/app/manifests/v1",
        "/v2/alice/none/manifests/v1",
        "/v2/alice/app/tags/list",
    ] {
        let reply = bob.get(path).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
            "{path}"
        );
    }
    for repository in ["alice/app", "shared/base"] {
        let reply = bob
            .send(
                "POST",
                &format!("/v2/{repository}/blobs/uploads/"),
                &[],
                Body::empty(),
            )
            .await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (StatusCode::FORBIDDEN, "DENIED")
        );
    }
}

#[tokio::test]
async fn a_digest_opens_nobody_elses_blob() {
    let Two { alice, bob, _dir } = two();
    let secret = alice.push_blob("alice/app", b"secret").await;
    bob.push_blob("bob/app", b"own").await;
    assert_eq!(
        bob.get(&format!("/v2/bob/app/blobs/{secret}")).await.code(),
        "BLOB_UNKNOWN"
    );
    for from in ["alice/app", "alice%2Fapp", "bob/none", "..", ""] {
        let path = format!("/v2/bob/app/blobs/uploads/?mount={secret}&from={from}");
        let reply = bob.send("POST", &path, &[], Body::empty()).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{from}");
    }
    let manifest = crate::house::manifest(b"own", b"secret");
    let reply = bob
        .send("PUT", "/v2/bob/app/manifests/stolen", &[], manifest)
        .await;
    assert_eq!(reply.code(), "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(
        bob.get(&format!("/v2/bob/app/blobs/{secret}")).await.code(),
        "BLOB_UNKNOWN"
    );
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository() {
    let Two { alice, bob, _dir } = two();
    let begun = alice
        .send("POST", "/v2/alice/app/blobs/uploads/", &[], Body::empty())
        .await;
    let elsewhere = begun.header("location").replace("alice/app", "bob/app");
    for method in ["GET", "PATCH", "DELETE"] {
        let reply = bob.send(method, &elsewhere, &[], Body::empty()).await;
        assert_eq!(reply.code(), "BLOB_UPLOAD_UNKNOWN", "{method}");
    }
    assert_eq!(
        alice.get(begun.header("location")).await.status,
        StatusCode::NO_CONTENT
    );
}

#[tokio::test]
async fn what_may_be_pulled_may_be_mounted() {
    let Two { alice, bob, _dir } = two();
    let blob = alice.push_blob("shared/base", b"common").await;
    let path = format!("/v2/bob/app/blobs/uploads/?mount={blob}&from=shared/base");
    let reply = bob.send("POST", &path, &[], Body::empty()).await;
    assert_eq!(reply.status, StatusCode::CREATED);
    assert_eq!(reply.header("docker-content-digest"), blob.as_str());
    assert_eq!(bob.get(reply.header("location")).await.body, b"common");
}
