//! The Log Cache API, byte for byte where clients are strict.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use base::{SystemClock, Tasks};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use logs::{ReadAccess, Settings, Store};
use serde_json::{Value, json};
use tower::ServiceExt;
use wire::v1::Envelope;

/// A token reads the sources it names.
struct NamedInToken;

impl ReadAccess for NamedInToken {
    fn may_read<'a>(&'a self, authorization: Option<&'a str>, source_id: &'a str) -> BoxFuture<'a, bool> {
        async move {
            authorization
                .and_then(|value| value.strip_prefix("bearer "))
                .is_some_and(|names| names.split(',').any(|name| name == source_id))
        }
        .boxed()
    }
}

fn serve() -> (Arc<Store>, Router) {
    let store = Arc::new(Store::new(Settings::default(), Arc::new(SystemClock)));
    (store.clone(), logs::router(store, Arc::new(NamedInToken)))
}

async fn get(router: &Router, path: &str, token: Option<&str>) -> (StatusCode, Value) {
    let mut request = Request::get(path);
    if let Some(token) = token {
        request = request.header("Authorization", format!("bearer {token}"));
    }
    let reply = router
        .clone()
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    let status = reply.status();
    assert_eq!(reply.headers()["content-type"], "application/json");
    let chunks: Vec<_> = reply
        .into_body()
        .into_data_stream()
        .map(|chunk| chunk.unwrap())
        .collect()
        .await;
    (status, serde_json::from_slice(&chunks.concat()).unwrap())
}

fn envelope(source_id: &str, timestamp_ns: i64, payload: &[u8]) -> Envelope {
    Envelope {
        timestamp_ns,
        source_id: source_id.into(),
        instance_id: "0".into(),
        source_type: "APP/PROC/WEB".into(),
        payload: payload.to_vec(),
        error: false,
        tags: [("app_name".to_owned(), "dora".to_owned())].into(),
    }
}

#[tokio::test]
async fn a_read_is_exactly_what_the_strict_client_decodes() {
    let (store, router) = serve();
    store.append(envelope("app", 1_700_000_000_000_000_000, b"hello \xff\n"));
    store.append(Envelope {
        error: true,
        ..envelope("app", 1_700_000_000_000_000_000, b"oops")
    });
    let (status, body) = get(
        &router,
        "/api/v1/read/app?start_time=-6795364578871345152",
        Some("app"),
    )
    .await;
    assert_eq!(status, StatusCode::OK);
    let line = |timestamp: &str, payload: &str, kind: &str| {
        json!({
            "timestamp": timestamp, "source_id": "app", "instance_id": "0", "deprecated_tags": {},
            "tags": {"source_type": "APP/PROC/WEB", "app_name": "dora"},
            "log": {"payload": payload, "type": kind},
        })
    };
    let first = line("1700000000000000000", "aGVsbG8g/w==", "OUT");
    let second = line("1700000000000000001", "b29wcw==", "ERR");
    assert_eq!(body, json!({"envelopes": {"batch": [first, second]}}));

    let newest = "/api/v1/read/app?descending=true&limit=1&envelope_types=LOG";
    assert_eq!(
        get(&router, newest, Some("app")).await.1,
        json!({"envelopes": {"batch": [second]}})
    );
    let gauges = "/api/v1/read/app?envelope_types=GAUGE&envelope_types=COUNTER";
    assert_eq!(
        get(&router, gauges, Some("app")).await.1,
        json!({"envelopes": {"batch": []}})
    );
}

#[tokio::test]
async fn strangers_and_bad_queries_are_turned_away() {
    let (store, router) = serve();
    store.append(envelope("app", 1, b"secret"));
    for (path, token, want) in [
        ("/api/v1/read/app", None, StatusCode::UNAUTHORIZED),
        ("/api/v1/meta", None, StatusCode::UNAUTHORIZED),
        ("/api/v1/read/app", Some("other"), StatusCode::NOT_FOUND),
        (
            "/api/v1/read/app?limit=1001",
            Some("app"),
            StatusCode::BAD_REQUEST,
        ),
        (
            "/api/v1/read/app?start_time=x",
            Some("app"),
            StatusCode::BAD_REQUEST,
        ),
        (
            "/api/v1/read/app?start_time=9&end_time=8",
            Some("app"),
            StatusCode::BAD_REQUEST,
        ),
        ("/api/v1/info", None, StatusCode::OK),
    ] {
        assert_eq!(get(&router, path, token).await.0, want, "{path}");
    }
}

#[tokio::test]
async fn info_and_meta() {
    let (store, router) = serve();
    store.append(envelope("mine", 7, b"a"));
    store.append(envelope("mine", 9, b"b"));
    store.append(envelope("theirs", 8, b"c"));
    assert_eq!(
        get(&router, "/api/v1/info", None).await.1,
        json!({"version": "3.2.1", "vm_uptime": "0"})
    );
    let mine = json!({"count": "2", "expired": "0", "oldest_timestamp": "7", "newest_timestamp": "9"});
    assert_eq!(
        get(&router, "/api/v1/meta", Some("mine,absent")).await.1,
        json!({"meta": {"mine": mine}})
    );
}

#[tokio::test]
async fn a_walking_client_is_answered_when_a_line_comes() {
    let (store, router) = serve();
    let tasks = Tasks::new();
    let started = Instant::now();
    let (_, nothing) = get(&router, "/api/v1/read/app?start_time=1", Some("app")).await;
    assert_eq!(nothing, json!({"envelopes": {"batch": []}}));
    assert!(started.elapsed() >= Duration::from_millis(200));
    let writer = store.clone();
    tasks.spawn("writer", async move { writer.append(envelope("app", 5, b"new")) });
    let (_, body) = get(&router, "/api/v1/read/app?start_time=1", Some("app")).await;
    assert_eq!(body["envelopes"]["batch"][0]["timestamp"], "5");
    tasks.shutdown(Duration::from_secs(5)).await;
}
