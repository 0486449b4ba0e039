//! Pulling, request by request.

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::house::{ALICE, Client, OCI_MANIFEST, digest, manifest, noise, open};

fn setup() -> (tempfile::TempDir, Client) {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new(&open(dir.path()), ALICE);
    (dir, client)
}

#[tokio::test]
async fn blobs_whole_and_in_part() {
    let (_dir, client) = setup();
    let content = noise(1, 700_000);
    let path = format!(
        "/v2/alice/app/blobs/{}",
        client.push_blob("alice/app", &content).await
    );

    let whole = client.get(&path).await;
    assert_eq!(whole.status, StatusCode::OK);
    assert_eq!(whole.header("docker-content-digest"), digest(&content).as_str());
    assert!(whole.body == content);
    let head = client.send("HEAD", &path, &[], Body::empty()).await;
    assert_eq!((head.header("content-length"), head.body.len()), ("700000", 0));

    let part = client
        .send("GET", &path, &[("range", "bytes=600000-")], Body::empty())
        .await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.header("content-range"), "bytes 600000-699999/700000");
    assert!(part.body == content[600_000..]);
    let beyond = client
        .send("GET", &path, &[("range", "bytes=700000-")], Body::empty())
        .await;
    assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.header("content-range"), "bytes */700000");
}

#[tokio::test]
async fn manifests_by_tag_and_digest_as_they_were_pushed() {
    let (_dir, client) = setup();
    let image = client.push_image("alice/app", "v1", b"layer").await;
    for reference in ["v1", image.as_str()] {
        let path = format!("/v2/alice/app/manifests/{reference}");
        let found = client.get(&path).await;
        assert_eq!(found.body, manifest(b"{}", b"layer"));
        let head = client.send("HEAD", &path, &[], Body::empty()).await;
        for reply in [found, head] {
            assert_eq!(reply.status, StatusCode::OK);
            assert_eq!(reply.header("content-type"), OCI_MANIFEST);
            assert_eq!(reply.header("docker-content-digest"), image.as_str());
            assert_eq!(
                reply.header("content-length"),
                manifest(b"{}", b"layer").len().to_string()
            );
        }
    }
    let moved = client.push_image("alice/app", "v1", b"another layer").await;
    let now = client.get("/v2/alice/app/manifests/v1").await;
    assert_eq!(now.header("docker-content-digest"), moved.as_str());
    assert_eq!(
        client
            .get(&format!("/v2/alice/app/manifests/{image}"))
            .await
            .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn what_is_not_there_is_said_by_the_right_code() {
    let (_dir, client) = setup();
    client.push_image("alice/app", "v1", b"layer").await;
    let none = digest(b"none");
    for (path, code) in [
        (format!("/v2/alice/app/blobs/{none}"), "BLOB_UNKNOWN"),
        (format!("/v2/alice/app/manifests/{none}"), "MANIFEST_UNKNOWN"),
        ("/v2/alice/app/manifests/v2".into(), "MANIFEST_UNKNOWN"),
        ("/v2/alice/app/manifests/.INVALID".into(), "MANIFEST_UNKNOWN"),
        ("/v2/alice/none/manifests/v1".into(), "NAME_UNKNOWN"),
        ("/v2/alice/none/tags/list".into(), "NAME_UNKNOWN"),
        ("/v2/alice/app/blobs/uploads/1".into(), "BLOB_UPLOAD_UNKNOWN"),
    ] {
        let reply = client.get(&path).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (StatusCode::NOT_FOUND, code),
            "{path}"
        );
    }
    assert_eq!(client.get("/v2/Alice/tags/list").await.code(), "NAME_INVALID");
}

#[tokio::test]
async fn tags_page_by_page() {
    let (_dir, client) = setup();
    for tag in ["b", "C", "a", "latest", "1.0"] {
        client.push_image("alice/app", tag, b"layer").await;
    }
    let page = async |path: &str| {
        let reply = client.get(path).await;
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(body["name"], "alice/app");
        let next = reply.headers.get("link").map(|link| {
            let link = link.to_str().unwrap();
            link.strip_prefix('<')
                .and_then(|l| l.strip_suffix(">; rel=\"next\""))
                .unwrap()
                .to_owned()
        });
        (body["tags"].clone(), next)
    };
    assert_eq!(
        page("/v2/alice/app/tags/list").await,
        (json!(["1.0", "a", "b", "C", "latest"]), None)
    );
    let (first, next) = page("/v2/alice/app/tags/list?n=2").await;
    assert_eq!(first, json!(["1.0", "a"]));
    let (second, next) = page(&next.unwrap()).await;
    assert_eq!(second, json!(["b", "C"]));
    assert_eq!(page(&next.unwrap()).await, (json!(["latest"]), None));
    assert_eq!(page("/v2/alice/app/tags/list?n=0").await, (json!([]), None));
}
