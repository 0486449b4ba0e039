//! Clients and backends that keep us waiting.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::fixture::{App, Router, SOON, read_until};

#[tokio::test]
async fn a_head_that_trickles_in_is_given_up() {
    let router = Router::start_with(|settings| settings.timeouts.header = Duration::from_millis(200)).await;
    let mut client = TcpStream::connect(router.address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a.com\r\n")
        .await
        .unwrap();
    let start = Instant::now();
    let closed = loop {
        if client.write_all(b"X: y\r\n").await.is_err() {
            break true;
        }
        if start.elapsed() > SOON {
            break false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(closed, "single bytes keep no connection open");
}

#[tokio::test]
async fn idle_connections_are_closed_on_both_sides() {
    let router = Router::start_with(|settings| {
        settings.timeouts.client_idle = Duration::from_millis(200);
        settings.timeouts.backend_idle = Duration::from_millis(1);
    })
    .await;
    let app = App::saying("ok").await;
    router.route("a.com", "", &[&app]);
    let mut client = TcpStream::connect(router.address).await.unwrap();
    for connection in 1..3 {
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n")
            .await
            .unwrap();
        read_until(&mut client, SOON, |text| text.ends_with("ok")).await;
        assert_eq!(app.connections(), connection);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(read_until(&mut client, SOON, |_| false).await, "");
}

#[tokio::test]
async fn connections_above_the_limit_wait_their_turn() {
    let router = Router::start_with(|settings| settings.limits.client_connections = 1).await;
    let app = App::saying("ok").await;
    router.route("a.com", "", &[&app]);
    let ask = b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n";
    let mut first = TcpStream::connect(router.address).await.unwrap();
    first.write_all(ask).await.unwrap();
    read_until(&mut first, SOON, |text| text.ends_with("ok")).await;
    let mut second = TcpStream::connect(router.address).await.unwrap();
    second.write_all(ask).await.unwrap();
    assert_eq!(
        read_until(&mut second, Duration::from_millis(100), |_| false).await,
        ""
    );
    drop(first);
    let said = read_until(&mut second, SOON, |text| text.ends_with("ok")).await;
    assert!(said.starts_with("HTTP/1.1 200 OK"), "{said}");
}
