//! HTTP/2 on either side, and gRPC through both.

use std::convert::Infallible;

use base::Tasks;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::fixture::{App, Reply, Router, answer, head_of};

async fn connect(router: &Router, tasks: &Tasks) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(router.address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tasks.spawn("client", async move {
        let _ = connection.await;
    });
    sender
}

#[tokio::test]
async fn many_requests_share_one_client_connection() {
    let (router, tasks) = (Router::start().await, Tasks::new());
    let app = App::http(|request| {
        let head = head_of(&request);
        async move { answer(head) }
    })
    .await;
    router.route("a.com", "", &[&app]);
    let sender = connect(&router, &tasks).await;
    let ask = |number: usize| {
        let mut sender = sender.clone();
        async move {
            let request = Request::get(format!("http://a.com/{number}"))
                .header("cookie", "a=1")
                .header("cookie", "b=2")
                .body(Full::<Bytes>::default());
            Reply::of(sender.send_request(request.unwrap()).await.unwrap()).await
        }
    };
    let replies = futures_util::future::join_all((0..50).map(ask)).await;
    for (number, reply) in replies.iter().enumerate() {
        assert!(
            reply.body.starts_with(&format!("GET /{number}\n")),
            "{}",
            reply.body
        );
        assert!(reply.body.contains("\nhost: a.com\n"), "{}", reply.body);
        assert!(reply.body.contains("\ncookie: a=1; b=2\n"), "{}", reply.body);
    }
    assert!(
        String::from_utf8(router.line().await.payload)
            .unwrap()
            .contains(" HTTP/2.0\" 200 ")
    );
    let mut sender = sender;
    let unknown = Request::get("http://nobody.com/").body(Full::default()).unwrap();
    let reply = Reply::of(sender.send_request(unknown).await.unwrap()).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("x-cf-routererror")),
        (404, Some("unknown_route"))
    );
}

/// Answers as a gRPC server does: messages back, then the status as trailers.
async fn grpc() -> App {
    let mut app = App::http(|request| async move {
        assert_eq!(request.version(), http::Version::HTTP_2);
        assert_eq!(request.headers().get("te").unwrap(), "trailers");
        assert_eq!(request.uri().authority().unwrap(), "a.com");
        assert!(request.headers().get("host").is_none());
        assert_eq!(request.headers().get("x-cf-applicationid").unwrap(), "app");
        let message = request.into_body().collect().await.unwrap().to_bytes();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let frames: [Result<_, Infallible>; 2] = [Ok(Frame::data(message)), Ok(Frame::trailers(trailers))];
        let body = StreamBody::new(stream::iter(frames)).map_err(|never| match never {});
        Response::builder()
            .header("content-type", "application/grpc")
            .body(body.boxed())
            .unwrap()
    })
    .await;
    app.protocol = "http2";
    app
}

#[tokio::test]
async fn grpc_end_to_end() {
    let (router, tasks) = (Router::start().await, Tasks::new());
    let app = grpc().await;
    router.route("a.com", "", &[&app]);
    let sender = connect(&router, &tasks).await;
    let call = || {
        let mut sender = sender.clone();
        async move {
            let request = Request::post("http://a.com/pkg.Service/Method")
                .header("content-type", "application/grpc")
                .header("te", "trailers");
            let body = Full::<Bytes>::from("\0\0\0\0\x05hello");
            Reply::of(sender.send_request(request.body(body).unwrap()).await.unwrap()).await
        }
    };
    call().await;
    for reply in futures_util::future::join_all((0..20).map(|_| call())).await {
        assert_eq!(reply.status, 200);
        assert_eq!(reply.body, "\0\0\0\0\x05hello");
        assert_eq!(reply.trailers.unwrap().get("grpc-status").unwrap(), "0");
    }
    assert_eq!(app.connections(), 1, "calls share a connection to the app");
    router
        .until("all places are free", |r| r.table.in_flight("app-0") == 0)
        .await;
}

#[tokio::test]
async fn http1_clients_reach_http2_apps() {
    let router = Router::start().await;
    let mut app = App::http(|request| async move { answer(format!("{:?}", request.version())) }).await;
    app.protocol = "http2";
    router.route("a.com", "", &[&app]);
    assert_eq!(router.get("http://a.com/").await.body, "HTTP/2.0");
    drop(app);
    let reply = router.get("http://a.com/").await;
    assert_eq!(reply.status, 502);
}
