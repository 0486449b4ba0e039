//! Switched protocols.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::{App, Router, SOON, read_until};

const ASK: &[u8] =
    b"GET /socket HTTP/1.1\r\nHost: a.com\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// An app that switches and then echoes in capitals.
async fn switching() -> App {
    App::bare(|mut stream, _| async move {
        let head = read_until(&mut stream, SOON, |text| text.ends_with("\r\n\r\n"))
            .await
            .to_lowercase();
        assert!(
            head.contains("\r\nconnection: upgrade\r\n") && head.contains("\r\nupgrade: websocket\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\nsec-websocket-version: 13\r\n"), "{head}");
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nFIRST";
        let _ = stream.write_all(switch.as_bytes()).await;
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            let _ = stream.write_all(&buffer[..read].to_ascii_uppercase()).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_websocket() {
    // A request time-out far below the life of the tunnel.
    let router = Router::start_with(|settings| settings.timeouts.request = Duration::from_millis(50)).await;
    let app = switching().await;
    router.route("a.com", "", &[&app]);
    let mut client = TcpStream::connect(router.address).await.unwrap();
    client.write_all(ASK).await.unwrap();
    let said = read_until(&mut client, SOON, |text| text.ends_with("FIRST")).await;
    assert!(said.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{said}");
    for header in [
        "Upgrade: websocket",
        "Sec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    ] {
        assert!(said.contains(header), "{said}");
    }
    tokio::time::sleep(Duration::from_millis(120)).await;
    for word in ["hello", "again"] {
        client.write_all(word.as_bytes()).await.unwrap();
        let capitals = word.to_uppercase();
        assert_eq!(
            read_until(&mut client, SOON, |text| text.len() == word.len()).await,
            capitals
        );
    }
    assert_eq!(router.table.in_flight("app-0"), 1, "a tunnel is in flight");
    assert!(router.has_no_line().await);
    drop(client);
    let line = String::from_utf8(router.line().await.payload).unwrap();
    assert!(line.contains("\"GET /socket HTTP/1.1\" 101 0 15 "), "{line}");
    router
        .until("the tunnel is gone", |r| r.table.in_flight("app-0") == 0)
        .await;
}

#[tokio::test]
async fn an_app_that_does_not_switch_answers() {
    let router = Router::start().await;
    let app = App::saying("plain").await;
    router.route("a.com", "", &[&app]);
    let said = router.raw(ASK, Duration::from_millis(500)).await;
    assert!(
        said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("plain"),
        "{said}"
    );
}

#[tokio::test]
async fn a_switch_nobody_asked_for_is_refused() {
    let router = Router::start().await;
    let app = App::bare(|mut stream, _| async move {
        let head = read_until(&mut stream, SOON, |text| text.ends_with("\r\n\r\n"))
            .await
            .to_lowercase();
        assert!(!head.contains("upgrade"), "{head}");
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
        let _ = stream.write_all(switch).await;
        let _ = stream.read(&mut [0; 4096]).await;
    })
    .await;
    router.route("a.com", "", &[&app]);
    for head in [
        "GET / HTTP/1.1\r\nHost: a.com\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.com\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
    ] {
        let said = router.raw(head.as_bytes(), SOON).await;
        assert!(said.starts_with("HTTP/1.1 502 "), "{said}");
    }
}
