//! Pushing, request by request.

use std::path::Path;

use axum::body::Body;
use axum::http::StatusCode;
use futures_util::stream;

use crate::house::{ALICE, Client, OCI_MANIFEST, digest, files, manifest, noise, open};

fn setup() -> (tempfile::TempDir, Client) {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new(&open(dir.path()), ALICE);
    (dir, client)
}

async fn begin(client: &Client) -> String {
    let reply = client
        .send("POST", "/v2/alice/app/blobs/uploads/", &[], Body::empty())
        .await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    assert!(reply.header("oci-chunk-min-length").parse::<u64>().is_ok());
    assert_eq!(reply.header("range"), "0-0");
    reply.header("location").to_owned()
}

fn unfinished(dir: &Path) -> usize {
    files(&dir.join("uploads")).len()
}

#[tokio::test]
async fn in_chunks() {
    let (dir, client) = setup();
    let content = noise(1, 300_000);
    let (first, rest) = content.split_at(100_000);
    let (second, third) = rest.split_at(150_000);
    let upload = begin(&client).await;

    let reply = client
        .send("PATCH", &upload, &[("content-range", "0-99999")], first.to_vec())
        .await;
    assert_eq!(
        (reply.status, reply.header("range")),
        (StatusCode::ACCEPTED, "0-99999")
    );
    let again = client
        .send("PATCH", &upload, &[("content-range", "0-99999")], first.to_vec())
        .await;
    assert_eq!(
        (again.status, again.header("range")),
        (StatusCode::RANGE_NOT_SATISFIABLE, "0-99999")
    );
    let ahead = client
        .send("PATCH", &upload, &[("content-range", "100001-100002")], "ab")
        .await;
    assert_eq!(ahead.status, StatusCode::RANGE_NOT_SATISFIABLE);
    // Without a range, a chunk goes where the last one ended.
    let reply = client.send("PATCH", &upload, &[], second.to_vec()).await;
    assert_eq!(
        (reply.status, reply.header("range")),
        (StatusCode::ACCEPTED, "0-249999")
    );
    let status = client.get(&upload).await;
    assert_eq!(
        (status.status, status.header("range")),
        (StatusCode::NO_CONTENT, "0-249999")
    );
    assert_eq!(status.header("location"), upload);

    let last = [("content-range", "250000-299999")];
    let reply = client
        .send(
            "PUT",
            &format!("{upload}?digest={}", digest(&content)),
            &last,
            third.to_vec(),
        )
        .await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    assert_eq!(reply.header("docker-content-digest"), digest(&content).as_str());
    assert_eq!(client.get(reply.header("location")).await.body, content);
    assert_eq!(client.get(&upload).await.code(), "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(unfinished(dir.path()), 0);
}

#[tokio::test]
async fn in_one_request_of_either_kind() {
    let (_dir, client) = setup();
    client.push_blob("alice/app", b"").await;
    let upload = begin(&client).await;
    let content = noise(2, 3 << 20);
    let reply = client
        .send(
            "PUT",
            &format!("{upload}?digest={}", digest(&content)),
            &[],
            content.clone(),
        )
        .await;
    assert_eq!(reply.status, StatusCode::CREATED);
    assert_eq!(client.get(reply.header("location")).await.body, content);
}

#[tokio::test]
async fn what_is_wrong_with_a_blob_is_said_and_nothing_stays() {
    let (dir, client) = setup();
    let wrong = digest(b"something else");
    let upload = begin(&client).await;
    for (path, code) in [
        (format!("{upload}?digest=sha256:12"), "DIGEST_INVALID"),
        (upload.clone(), "DIGEST_INVALID"),
        (format!("{upload}?digest={wrong}"), "DIGEST_INVALID"),
    ] {
        let reply = client.send("PUT", &path, &[], "content").await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (StatusCode::BAD_REQUEST, code),
            "{path}"
        );
    }
    let reply = client
        .send(
            "POST",
            &format!("/v2/alice/app/blobs/uploads/?digest={wrong}"),
            &[],
            "content",
        )
        .await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (StatusCode::BAD_REQUEST, "DIGEST_INVALID")
    );
    assert_eq!(
        client.get(&format!("/v2/alice/app/blobs/{wrong}")).await.code(),
        "BLOB_UNKNOWN"
    );
    let upload = begin(&client).await;
    let garbage = client
        .send("PATCH", &upload, &[("content-range", "x-y")], "content")
        .await;
    assert_eq!(garbage.code(), "BLOB_UPLOAD_INVALID");
    assert_eq!(
        client.send("DELETE", &upload, &[], Body::empty()).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        client.send("PATCH", &upload, &[], "more").await.code(),
        "BLOB_UPLOAD_UNKNOWN"
    );
    assert_eq!(unfinished(dir.path()), 0);
    assert!(files(&dir.path().join("blobs")).is_empty());
}

#[tokio::test]
async fn a_body_that_breaks_off_can_be_continued_or_leaves_nothing() {
    let (dir, client) = setup();
    let content = noise(3, 50_000);
    let broken = |at: usize| {
        let chunks = [
            Ok(content[..at].to_vec()),
            Err(std::io::Error::other("connection reset")),
        ];
        Body::from_stream(stream::iter(chunks))
    };
    let upload = begin(&client).await;
    assert_eq!(
        client.send("PATCH", &upload, &[], broken(20_000)).await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(client.get(&upload).await.header("range"), "0-19999");
    let path = format!("{upload}?digest={}", digest(&content));
    assert_eq!(
        client
            .send("PUT", &path, &[], content[20_000..].to_vec())
            .await
            .status,
        StatusCode::CREATED
    );

    let path = format!("/v2/alice/app/blobs/uploads/?digest={}", digest(&content));
    assert_eq!(
        client.send("POST", &path, &[], broken(10)).await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(unfinished(dir.path()), 0);
}

#[tokio::test]
async fn manifests_are_checked() {
    let (_dir, client) = setup();
    let document = manifest(b"{}", b"layer");
    let headers = [("content-type", OCI_MANIFEST)];
    let put = async |reference: &str, body: Vec<u8>| {
        let path = format!("/v2/alice/app/manifests/{reference}");
        let reply = client.send("PUT", &path, &headers, body).await;
        (reply.status, reply.code())
    };
    let unknown = (StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN".to_owned());
    assert_eq!(put("v1", document.clone()).await, unknown);
    client.push_blob("alice/app", b"{}").await;
    assert_eq!(put("v1", document.clone()).await, unknown);
    client.push_blob("alice/app", b"layer").await;
    assert_eq!(put("v1", document.clone()).await.0, StatusCode::CREATED);
    assert_eq!(
        put(digest(&document).as_str(), document.clone()).await.0,
        StatusCode::CREATED
    );

    let wrong = digest(b"wrong");
    assert_eq!(
        put(wrong.as_str(), document.clone()).await,
        (StatusCode::BAD_REQUEST, "DIGEST_INVALID".into())
    );
    for (reference, body) in [
        ("v1", b"not json".to_vec()),
        (".bad", document.clone()),
        ("v1", b"{}".to_vec()),
    ] {
        assert_eq!(
            put(reference, body).await,
            (StatusCode::BAD_REQUEST, "MANIFEST_INVALID".into())
        );
    }
    let large = put("v1", vec![b' '; (4 << 20) + 1]).await;
    assert_eq!(large, (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID".into()));
    let text = String::from_utf8(document)
        .unwrap()
        .replace("\"size\":5", "\"size\":6");
    assert_eq!(
        put("v1", text.into_bytes()).await,
        (StatusCode::BAD_REQUEST, "MANIFEST_INVALID".into())
    );
}

#[tokio::test]
async fn the_same_blob_from_many_at_once_is_stored_once() {
    let (dir, client) = setup();
    let content = noise(4, 2 << 20);
    let pushes = (0..8).map(|n| {
        let (client, content) = (client.clone(), content.clone());
        async move { client.push_blob(&format!("alice/app{}", n % 3), &content).await }
    });
    let digests = base::bounded_join(8, pushes).await;
    assert!(digests.iter().all(|d| *d == digest(&content)));
    assert_eq!(files(&dir.path().join("blobs")).len(), 1);
    assert_eq!(unfinished(dir.path()), 0);
    for n in 0..3 {
        let path = format!("/v2/alice/app{n}/blobs/{}", digest(&content));
        assert_eq!(client.get(&path).await.body, content);
    }
}

#[tokio::test]
async fn deletion_and_the_unknown_are_refused() {
    let (_dir, client) = setup();
    let image = client.push_image("alice/app", "v1", b"layer").await;
    for (method, path, status) in [
        (
            "DELETE",
            format!("/v2/alice/app/manifests/{image}"),
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            "DELETE",
            format!("/v2/alice/app/blobs/{}", digest(b"layer")),
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            "POST",
            "/v2/alice/app/tags/list".to_owned(),
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            "GET",
            format!("/v2/alice/app/referrers/{image}"),
            StatusCode::NOT_FOUND,
        ),
        ("GET", "/v2/_catalog".to_owned(), StatusCode::NOT_FOUND),
    ] {
        let reply = client.send(method, &path, &[], Body::empty()).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (status, "UNSUPPORTED"),
            "{method} {path}"
        );
    }
}
