//! Backends that fail, and the ones that are asked instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fixture::{App, Router, backend, dead, request};

fn post(body: &'static str) -> Request<Full<Bytes>> {
    Request::post("http://a.com/").body(Full::from(body)).unwrap()
}

#[tokio::test]
async fn a_dead_backend_is_not_noticed() {
    let router = Router::start().await;
    let app = App::saying("alive").await;
    router.route_to(
        "a.com",
        "",
        vec![backend(dead(), 0), backend(dead(), 1), app.backend(2)],
    );
    for _ in 0..6 {
        assert_eq!(router.get("http://a.com/").await.body, "alive");
        assert_eq!(
            router.send(post("body")).await.body,
            "alive",
            "dialling is repeated for any request"
        );
    }
}

#[tokio::test]
async fn when_all_are_dead_they_are_asked_again() {
    let router = Router::start().await;
    let (first, second) = (dead(), dead());
    router.route_to("a.com", "", vec![backend(first, 0), backend(second, 1)]);
    assert_eq!(router.get("http://a.com/").await.status, 502);
    // The address comes to life; its mark would last for 30 s.
    let listener = tokio::net::TcpListener::bind(second).await.unwrap();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await
            .unwrap();
    };
    let (reply, ()) = tokio::join!(router.get("http://a.com/"), serve);
    assert_eq!(reply.body, "ok");
}

/// An app that takes each request and closes without an answer.
async fn closing(taken: Arc<AtomicUsize>) -> App {
    App::bare(move |mut stream, _| {
        let taken = taken.clone();
        async move {
            if stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
                taken.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await
}

#[tokio::test]
async fn only_repeatable_requests_are_repeated_after_an_eof() {
    let router = Router::start().await;
    let taken = Arc::new(AtomicUsize::new(0));
    let (bad, good) = (closing(taken.clone()).await, App::saying("good").await);
    let both = || router.route("a.com", "", &[&bad, &good]);
    both();
    for _ in 0..4 {
        assert_eq!(router.get("http://a.com/").await.body, "good");
    }
    assert_eq!(taken.load(Ordering::SeqCst), 1, "marked after its first failure");

    // A fresh route entry keeps the instance and its mark; only a bad one alone has to be asked.
    router.route("a.com", "", &[&bad]);
    assert_eq!(router.send(post("once")).await.status, 502);
    assert_eq!(
        taken.load(Ordering::SeqCst),
        2,
        "a request with a body is sent once"
    );
    let mut keyed = Request::post("http://a.com/")
        .body(Full::<Bytes>::default())
        .unwrap();
    keyed
        .headers_mut()
        .insert("idempotency-key", "k".parse().unwrap());
    both();
    assert_eq!(router.send(keyed).await.body, "good");
}

#[tokio::test]
async fn at_most_three_backends_are_asked() {
    let router = Router::start().await;
    let taken = Arc::new(AtomicUsize::new(0));
    let bad = [
        closing(taken.clone()).await,
        closing(taken.clone()).await,
        closing(taken.clone()).await,
        closing(taken.clone()).await,
    ];
    router.route("a.com", "", &bad.each_ref());
    assert_eq!(router.get("http://a.com/").await.status, 502);
    assert_eq!(taken.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn rested_connections_that_died_cost_nothing() {
    let router = Router::start().await;
    // Each connection serves one request, then reads the next one and closes without an answer.
    let app = App::bare(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
        let _ = stream.read(&mut [0; 4096]).await;
    })
    .await;
    router.route("a.com", "", &[&app]);
    for _ in 0..4 {
        assert_eq!(router.send(request("http://a.com/")).await.body, "ok");
    }
    assert_eq!(app.connections(), 4);
    router
        .until("nothing in flight", |r| r.table.in_flight("app-0") == 0)
        .await;
}
