//! Bodies that are large, slow or without end.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::{Answer, App, Reply, Router, SOON, answer, read_until};

const CHUNK: usize = 64 * 1024;
const CHUNKS: usize = 1_600;

fn frames(chunks: usize) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + Sync + Unpin {
    stream::iter((0..chunks).map(|_| Ok(Frame::data(Bytes::from_static(&[7; CHUNK])))))
}

fn streamed(frames: impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + Sync + 'static) -> Answer {
    http::Response::new(BodyExt::boxed(
        StreamBody::new(frames).map_err(|never| match never {}),
    ))
}

#[tokio::test]
async fn a_hundred_megabytes_each_way() {
    let router = Router::start().await;
    let echo = App::http(|request| async { http::Response::new(request.into_body().boxed()) }).await;
    router.route("a.com", "", &[&echo]);
    let request = Request::post("http://a.com/")
        .body(StreamBody::new(frames(CHUNKS)))
        .unwrap();
    let mut body = router.open(request).await.into_body();
    let mut bytes = 0;
    while let Some(frame) = tokio::time::timeout(SOON, body.frame())
        .await
        .expect("the stream moves")
    {
        bytes += frame.unwrap().data_ref().map_or(0, Bytes::len);
    }
    assert_eq!(bytes, CHUNK * CHUNKS);
    let line = String::from_utf8(router.line().await.payload).unwrap();
    assert!(line.contains(&format!(" 200 {bytes} {bytes} ")), "{line}");
}

#[tokio::test]
async fn events_arrive_when_they_happen() {
    let router = Router::start().await;
    let (events, feed) = tokio::sync::mpsc::channel::<Bytes>(4);
    let feed = std::sync::Arc::new(tokio::sync::Mutex::new(Some(feed)));
    let app = App::http(move |_| {
        let feed = feed.clone();
        async move {
            let feed = feed.lock().await.take().unwrap();
            let events = stream::unfold(feed, |mut feed| async { Some((feed.recv().await?, feed)) });
            streamed(Box::pin(events.map(|event| Ok(Frame::data(event)))))
        }
    })
    .await;
    router.route("a.com", "", &[&app]);
    let mut body = router
        .open(crate::fixture::request("http://a.com/events"))
        .await
        .into_body();
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        events.send(event.into()).await.unwrap();
        let frame = tokio::time::timeout(SOON, body.frame())
            .await
            .expect("the event, unbuffered")
            .unwrap();
        assert_eq!(frame.unwrap().into_data().unwrap(), event);
    }
    assert_eq!(router.table.in_flight("app-0"), 1);
    drop(events);
    assert!(body.frame().await.is_none());
    router
        .until("the stream is over", |r| r.table.in_flight("app-0") == 0)
        .await;
}

#[tokio::test]
async fn a_client_that_walks_away_ends_the_stream_at_the_app() {
    let router = Router::start().await;
    let (ended, mut gone) = tokio::sync::mpsc::channel::<()>(1);
    let app = App::bare(move |mut stream, _| {
        let ended = ended.clone();
        async move {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
                .await;
            while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
            let _ = ended.send(()).await;
        }
    })
    .await;
    router.route("a.com", "", &[&app]);
    let mut client = TcpStream::connect(router.address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut client, SOON, |text| text.ends_with("1\r\nx\r\n")).await;
    drop(client);
    tokio::time::timeout(SOON, gone.recv())
        .await
        .expect("the app's connection is closed")
        .unwrap();
    router.line().await;
    assert_eq!(router.table.in_flight("app-0"), 0);
}

#[tokio::test]
async fn a_truncated_answer_stays_truncated() {
    let router = Router::start().await;
    let app = App::bare(|mut stream, _| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            .await;
    })
    .await;
    router.route("a.com", "", &[&app]);
    let said = router.raw(b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n", SOON).await;
    assert!(
        said.ends_with("5\r\nhello\r\n"),
        "no end of chunks was made up: {said}"
    );
}

#[tokio::test]
async fn trailers_pass() {
    let router = Router::start().await;
    let app = App::http(|request| async move {
        let collected = request.into_body().collect().await.unwrap();
        let got = collected.trailers().and_then(|t| t.get("x-up").cloned()).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-down", got);
        let frames = [Ok(Frame::data(Bytes::from("x"))), Ok(Frame::trailers(trailers))];
        let mut response = streamed(stream::iter(frames));
        response
            .headers_mut()
            .insert("trailer", "x-down".parse().unwrap());
        response
    })
    .await;
    router.route("a.com", "", &[&app]);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-up", "42".parse().unwrap());
    let frames: [Result<_, Infallible>; 2] =
        [Ok(Frame::data(Bytes::from("y"))), Ok(Frame::trailers(trailers))];
    let request = Request::post("http://a.com/")
        .header("te", "trailers")
        .header("trailer", "x-up");
    let reply = Reply::of(
        router
            .open(request.body(StreamBody::new(stream::iter(frames))).unwrap())
            .await,
    )
    .await;
    assert_eq!(reply.trailers.unwrap().get("x-down").unwrap(), "42");
}

const EXPECTING: &[u8] =
    b"POST / HTTP/1.1\r\nHost: a.com\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

#[tokio::test]
async fn the_app_decides_about_expected_bodies() {
    let router = Router::start_with(|settings| settings.timeouts.expect_continue = SOON).await;
    let refusing = App::bare(|mut stream, _| async move {
        let head = read_until(&mut stream, SOON, |text| text.ends_with("\r\n\r\n")).await;
        assert!(head.to_lowercase().contains("expect: 100-continue"));
        let _ = stream
            .write_all(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno")
            .await;
        let _ = stream.read(&mut [0; 4096]).await;
    })
    .await;
    router.route("a.com", "", &[&refusing]);
    let mut client = TcpStream::connect(router.address).await.unwrap();
    client.write_all(EXPECTING).await.unwrap();
    let said = read_until(&mut client, SOON, |text| text.ends_with("no")).await;
    assert!(said.starts_with("HTTP/1.1 417 "), "no 100 came first: {said}");

    let accepting =
        App::http(|request| async move { answer(request.into_body().collect().await.unwrap().to_bytes()) })
            .await;
    router.route("a.com", "", &[&accepting]);
    for connection in 1..3 {
        let mut client = TcpStream::connect(router.address).await.unwrap();
        client.write_all(EXPECTING).await.unwrap();
        let said = read_until(&mut client, SOON, |text| text.ends_with("\r\n\r\n")).await;
        assert!(said.starts_with("HTTP/1.1 100 Continue\r\n"), "{said}");
        client.write_all(b"hello").await.unwrap();
        let said = read_until(&mut client, SOON, |text| text.ends_with("hello")).await;
        assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
        assert_eq!(
            accepting.connections(),
            connection,
            "such a connection is not used again"
        );
    }
}

#[tokio::test]
async fn an_app_that_knows_no_expectations_gets_the_body_anyway() {
    let router = Router::start_with(|s| s.timeouts.expect_continue = Duration::from_millis(50)).await;
    let app = App::bare(|mut stream, _| async move {
        read_until(&mut stream, SOON, |text| text.ends_with("hello")).await;
        let _ = stream
            .write_all(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
            .await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await;
    })
    .await;
    router.route("a.com", "", &[&app]);
    let mut client = TcpStream::connect(router.address).await.unwrap();
    client.write_all(EXPECTING).await.unwrap();
    read_until(&mut client, SOON, |text| text.contains("100 Continue")).await;
    client.write_all(b"hello").await.unwrap();
    let said = read_until(&mut client, SOON, |text| text.ends_with("ok")).await;
    assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
}
