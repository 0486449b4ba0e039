//! What an app gets to see of a request, and a client of a response.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use router::SystemBackend;

use crate::fixture::{Answer, App, Router, answer, head_of, request};

/// An app that answers with the head of the request.
async fn telling() -> App {
    App::http(|request| {
        let head = head_of(&request);
        async move { answer(head) }
    })
    .await
}

fn line<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut found = head
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let value = found.next();
    assert!(found.next().is_none(), "{name} twice in {head}");
    value
}

#[tokio::test]
async fn headers_the_app_gets() {
    let router = Router::start().await;
    let app = telling().await;
    router.route("a.com", "", &[&app]);
    let reply = router.get("http://a.com:8080/p?q=1").await;
    let head = &reply.body;
    assert!(head.starts_with("GET /p?q=1\n"), "{head}");
    assert_eq!(line(head, "host"), Some("a.com:8080"));
    assert_eq!(line(head, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(line(head, "x-forwarded-proto"), Some("http"));
    assert_eq!(line(head, "x-cf-applicationid"), Some("app"));
    assert_eq!(line(head, "x-cf-instanceid"), Some("app-0"));
    assert_eq!(line(head, "x-cf-instanceindex"), Some("0"));
    assert!(line(head, "x-request-start").unwrap().parse::<u64>().unwrap() > 1_600_000_000_000);
    let id = line(head, "x-vcap-request-id").unwrap();
    assert_eq!(id.len(), 36);
    assert_eq!(reply.header("x-vcap-request-id"), Some(id));
    let trace = line(head, "x-b3-traceid").unwrap();
    assert_eq!(trace, id.replace('-', ""));
    assert_eq!(
        line(head, "b3"),
        Some(format!("{trace}-{}", line(head, "x-b3-spanid").unwrap()).as_str())
    );
    assert_eq!(line(head, "connection"), None);
}

#[tokio::test]
async fn headers_of_the_client() {
    let router = Router::start().await;
    let app = telling().await;
    router.route("a.com", "", &[&app]);
    let request = Request::get("http://a.com/")
        .header("x-forwarded-for", "9.9.9.9, 8.8.8.8")
        .header("x-forwarded-for", "7.7.7.7")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "front.com")
        .header("x-forwarded-client-cert", "cert")
        .header("x-request-start", "123")
        .header("x-vcap-request-id", "mine")
        .header("x-cf-applicationid", "spoofed")
        .header("x-cf-instanceid", "spoofed")
        .header("x-cf-app-instance", "app:0")
        .header("x-secret-hop", "1")
        .header("connection", "x-secret-hop, x-forwarded-proto")
        .header("keep-alive", "timeout=5")
        .header("proxy-connection", "x")
        .header("te", "trailers, deflate")
        .header("b3", "0");
    let reply = router.send(request.body(Full::<Bytes>::default()).unwrap()).await;
    let head = &reply.body;
    for (name, expected) in [
        ("x-forwarded-for", Some("9.9.9.9, 8.8.8.8, 7.7.7.7, 127.0.0.1")),
        // The client tried to have its own header dropped; ours is set after that.
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("front.com")),
        ("x-forwarded-client-cert", Some("cert")),
        ("x-request-start", Some("123")),
        ("x-cf-applicationid", Some("app")),
        ("x-cf-instanceid", Some("app-0")),
        ("x-cf-app-instance", None),
        ("x-secret-hop", None),
        ("connection", None),
        ("keep-alive", None),
        ("proxy-connection", None),
        ("te", Some("trailers")),
        ("b3", Some("0")),
        ("x-b3-traceid", None),
    ] {
        assert_eq!(line(head, name), expected, "{name}");
    }
    assert_ne!(line(head, "x-vcap-request-id"), Some("mine"));
    let mut kept = crate::fixture::request("http://a.com/");
    kept.headers_mut()
        .insert("x-forwarded-proto", "https".parse().unwrap());
    assert_eq!(
        line(&router.send(kept).await.body, "x-forwarded-proto"),
        Some("https")
    );
}

#[tokio::test]
async fn headers_of_the_response() {
    let router = Router::start().await;
    let app = App::http(|_| async {
        let mut response: Answer = answer("x");
        let headers = response.headers_mut();
        for (name, value) in [
            ("x-vcap-request-id", "the-apps"),
            ("keep-alive", "timeout=1"),
            ("x-kept", "yes"),
            ("set-cookie", "a=1"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        headers.append("set-cookie", "b=2".parse().unwrap());
        response
    })
    .await;
    router.route("a.com", "", &[&app]);
    let reply = router.get("http://a.com/").await;
    assert_eq!(reply.header("x-vcap-request-id"), Some("the-apps"));
    assert_eq!(reply.header("x-kept"), Some("yes"));
    assert_eq!(reply.header("keep-alive"), None);
    assert_eq!(reply.headers.get_all("set-cookie").iter().count(), 2);
}

#[tokio::test]
async fn absolute_targets_name_the_host() {
    let router = Router::start().await;
    let app = telling().await;
    router.route("a.com", "", &[&app]);
    let raw = b"GET http://A.com/x?y HTTP/1.1\r\nHost: other.com\r\nConnection: close\r\n\r\n";
    let said = router.raw(raw, Duration::from_secs(2)).await;
    assert!(said.contains("GET /x?y\n"), "{said}");
    assert!(said.contains("host: A.com\n"), "{said}");
}

#[tokio::test]
async fn paths_pick_routes_and_are_not_stripped() {
    let router = Router::start().await;
    let (root, api, wild) = (
        App::saying("root").await,
        telling().await,
        App::saying("wild").await,
    );
    router.route("a.com", "", &[&root]);
    router.route("a.com", "/api", &[&api]);
    router.route("*.a.com", "", &[&wild]);
    assert_eq!(router.get("http://a.com/other").await.body, "root");
    assert!(
        router
            .get("http://A.COM/api/v1?x=%2f")
            .await
            .body
            .starts_with("GET /api/v1?x=%2f\n")
    );
    assert_eq!(router.get("http://x.y.a.com/api").await.body, "wild");
}

#[tokio::test]
async fn platform_hosts_go_to_the_platform() {
    let platform = telling().await;
    let address = platform.address;
    let router = Router::start_unfilled(
        |settings| {
            settings
                .system_hosts
                .insert("API.sys.com".into(), SystemBackend { address });
        },
        None,
    )
    .await;
    let app = App::saying("tenant").await;
    router.route("api.sys.com", "", &[&app]);
    let reply = router.get("http://api.sys.com/v3/info").await;
    assert!(reply.body.starts_with("GET /v3/info\n"));
    assert_eq!(line(&reply.body, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(line(&reply.body, "x-cf-applicationid"), None);
    assert!(router.has_no_line().await);
}

#[tokio::test]
async fn bodiless_answers_keep_their_headers() {
    let router = Router::start().await;
    let app = App::http(|request| async move {
        let mut response: Answer = answer("");
        if request.method() == "HEAD" {
            response
                .headers_mut()
                .insert("content-length", "1234".parse().unwrap());
        } else {
            *response.status_mut() = http::StatusCode::NO_CONTENT;
        }
        response
    })
    .await;
    router.route("a.com", "", &[&app]);
    let head = Request::head("http://a.com/")
        .body(Full::<Bytes>::default())
        .unwrap();
    let reply = router.send(head).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("content-length")),
        (200, Some("1234"))
    );
    let reply = router.send(request("http://a.com/")).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("content-length")),
        (204, None)
    );
    assert_eq!(app.connections(), 1, "the connection to the app is used again");
}
