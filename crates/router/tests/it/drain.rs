//! The end: of a backend, of a router.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::fixture::{App, Router, SOON, answer, read_until};

/// An app that answers once the gate is open.
async fn gated() -> (App, Arc<watch::Sender<bool>>) {
    let (open, gate) = watch::channel(false);
    let app = App::http(move |_| {
        let mut gate = gate.clone();
        async move {
            let _ = gate.wait_for(|open| *open).await;
            answer("done")
        }
    })
    .await;
    (app, Arc::new(open))
}

#[tokio::test]
async fn a_removed_backend_finishes_what_it_began_and_gets_nothing_new() {
    let router = Router::start().await;
    let (old, open) = gated().await;
    let new = App::saying("new").await;
    router.route("a.com", "", &[&old]);
    let removal = async {
        router
            .until("a request in flight", |r| r.table.in_flight("app-0") == 1)
            .await;
        router.route_to("a.com", "", vec![new.backend(1)]);
        for _ in 0..3 {
            assert_eq!(router.get("http://a.com/").await.body, "new");
        }
        assert_eq!(router.table.in_flight("app-0"), 1, "still known");
        open.send(true).unwrap();
    };
    let (reply, ()) = tokio::join!(router.get("http://a.com/"), removal);
    assert_eq!(reply.body, "done");
    assert_eq!(old.hits(), 1);
    router
        .until("nothing in flight", |r| r.table.in_flight("app-0") == 0)
        .await;
}

#[tokio::test]
async fn a_router_answers_what_it_took_before_it_ends() {
    let router = Router::start().await;
    let (app, open) = gated().await;
    router.route("a.com", "", &[&app]);
    let mut idle = TcpStream::connect(router.address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: nobody.com\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut idle, SOON, |text| text.contains("does not exist")).await;
    let end = async {
        router
            .until("a request in flight", |r| r.table.in_flight("app-0") == 1)
            .await;
        router.shutdown.cancel();
        assert_eq!(
            read_until(&mut idle, SOON, |_| false).await,
            "",
            "idle connections are closed"
        );
        assert!(!router.ended.is_cancelled());
        open.send(true).unwrap();
    };
    let (reply, ()) = tokio::join!(router.get("http://a.com/"), end);
    assert_eq!(reply.body, "done");
    tokio::time::timeout(SOON, router.ended.cancelled())
        .await
        .expect("the router ends");
    let refused = TcpStream::connect(router.address).await;
    assert!(refused.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn draining_has_an_end() {
    let router = Router::start_with(|settings| settings.drain = Duration::from_millis(100)).await;
    let (app, _open) = gated().await;
    router.route("a.com", "", &[&app]);
    let mut client = TcpStream::connect(router.address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n")
        .await
        .unwrap();
    router
        .until("a request in flight", |r| r.table.in_flight("app-0") == 1)
        .await;
    router.shutdown.cancel();
    tokio::time::timeout(SOON, router.ended.cancelled())
        .await
        .expect("the router ends");
    assert_eq!(router.table.in_flight("app-0"), 0);
    assert_eq!(read_until(&mut client, SOON, |_| false).await, "");
}
