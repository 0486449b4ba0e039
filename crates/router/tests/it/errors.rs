//! What the router says when no app answers.

use std::time::Duration;

use crate::fixture::{App, Reply, Router, backend, dead, request};

struct Expected<'a> {
    status: u16,
    error: Option<&'a str>,
    body: &'a str,
    cache: Option<&'a str>,
}

fn check(reply: &Reply, expected: &Expected<'_>) {
    assert_eq!(reply.status, expected.status);
    assert_eq!(reply.header("x-cf-routererror"), expected.error);
    assert_eq!(reply.body, expected.body);
    assert_eq!(reply.header("cache-control"), expected.cache);
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(reply.header("x-vcap-request-id").is_some());
}

const NEVER: Option<&str> = Some("no-cache, no-store");

#[tokio::test]
async fn unknown_routes_and_stopped_apps_look_the_same() {
    let router = Router::start().await;
    router.route("stopped.example.com", "", &[]);
    for host in ["nobody.example.com", "stopped.example.com"] {
        let body = format!("404 Not Found: Requested route ('{host}') does not exist.\n");
        let expected = Expected {
            status: 404,
            error: Some("unknown_route"),
            body: &body,
            cache: NEVER,
        };
        check(&router.get(&format!("http://{host}/x")).await, &expected);
    }
    assert!(router.has_no_line().await, "nobody's request is in nobody's log");
}

#[tokio::test]
async fn a_route_without_usable_backends_and_a_router_without_a_table() {
    let body = "503 Service Unavailable: Requested route ('a.com') has no available endpoints.\n";
    let cache = Some("public,max-age=2");
    let expected = Expected {
        status: 503,
        error: Some("no_endpoints"),
        body,
        cache,
    };

    let router = Router::start_unfilled(|_| {}, None).await;
    check(&router.get("http://a.com/").await, &expected);
    let unusable = wire::v1::Backend {
        address: "nowhere".into(),
        ..Default::default()
    };
    router.route_to("a.com", "", vec![unusable]);
    check(&router.get("http://a.com/").await, &expected);
}

#[tokio::test]
async fn connection_limit() {
    let router = Router::start_with(|settings| settings.limits.connections_per_backend = 1).await;
    let (open, gate) = tokio::sync::watch::channel(false);
    let app = App::http(move |_| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.unwrap();
            crate::fixture::answer("done")
        }
    })
    .await;
    router.route("a.com", "", &[&app]);
    let waiting = router.get("http://a.com/");
    let refused = async {
        router
            .until("a request in flight", |r| r.table.in_flight("app-0") == 1)
            .await;
        let reply = router.get("http://a.com/").await;
        open.send(true).unwrap();
        reply
    };
    let (served, refused) = tokio::join!(waiting, refused);
    assert_eq!(served.body, "done");
    let body = "503 Service Unavailable: Requested route ('a.com') has reached the connection limit.\n";
    let cache = Some("public,max-age=2");
    check(
        &refused,
        &Expected {
            status: 503,
            error: Some("Connection Limit Reached"),
            body,
            cache,
        },
    );
}

#[tokio::test]
async fn hosts_that_are_none() {
    let router = Router::start().await;
    let quiet = Duration::from_millis(300);
    for head in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
    ] {
        let said = router.raw(head.as_bytes(), quiet).await;
        assert!(
            said.starts_with("HTTP/1.") && said.contains(" 400 Bad Request\r\n"),
            "{said}"
        );
        assert!(said.contains("X-Cf-Routererror: empty_host\r\n"), "{said}");
        assert!(
            said.ends_with("400 Bad Request: Request had empty Host header\n"),
            "{said}"
        );
    }
    for host in ["a b", "a.com/x", "user@a.com", "a.com:port"] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let said = router.raw(head.as_bytes(), quiet).await;
        assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    }
}

#[tokio::test]
async fn instances_by_name() {
    let router = Router::start().await;
    let (one, two) = (App::saying("one").await, App::saying("two").await);
    router.route("a.com", "", &[&one, &two]);
    let ask = async |name: &'static str, value: &str| {
        let mut request = request("http://a.com/");
        request.headers_mut().insert(name, value.parse().unwrap());
        router.send(request).await
    };
    for _ in 0..3 {
        assert_eq!(ask("X-Cf-App-Instance", "app:1").await.body, "two");
        assert_eq!(ask("X-Cf-Process-Instance", "process:0").await.body, "one");
    }
    assert_eq!(ask("X-Cf-Process-Instance", "process").await.status, 200);

    let body =
        "400 Bad Request: Requested instance ('7') with guid ('app') does not exist for route ('a.com')\n";
    let expected = Expected {
        status: 400,
        error: Some("unknown_route"),
        body,
        cache: NEVER,
    };
    check(&ask("X-Cf-App-Instance", "app:7").await, &expected);
    let body = "400 Bad Request: Incorrect X-CF-APP-INSTANCE header : app\n";
    let error = Some("invalid_cf_app_instance_header");
    check(
        &ask("X-Cf-App-Instance", "app").await,
        &Expected {
            status: 400,
            error,
            body,
            cache: NEVER,
        },
    );
    let body = "400 Bad Request: Incorrect X-CF-PROCESS-INSTANCE header : process:x\n";
    let error = Some("invalid_cf_process_instance_header");
    let expected = Expected {
        status: 400,
        error,
        body,
        cache: NEVER,
    };
    check(&ask("X-Cf-Process-Instance", "process:x").await, &expected);
}

#[tokio::test]
async fn failed_backends() {
    let router = Router::start_with(|settings| {
        settings.timeouts.request = Duration::from_millis(200);
    })
    .await;
    let body = "502 Bad Gateway: Registered endpoint failed to handle the request.\n";
    let check_detail = |reply: &Reply, error: &str| {
        check(
            reply,
            &Expected {
                status: 502,
                error: Some(error),
                body,
                cache: None,
            },
        );
    };
    router.route_to("dead.com", "", vec![backend(dead(), 0)]);
    let reply = router.get("http://dead.com/").await;
    check_detail(&reply, "endpoint_failure (dial: connection refused)");

    let closing = App::bare(|mut stream, _| async move {
        let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1024]).await;
    })
    .await;
    router.route("closing.com", "", &[&closing]);
    check_detail(&router.get("http://closing.com/").await, "endpoint_failure (EOF)");

    let babbling = App::bare(|mut stream, _| async move {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-x\r\n\r\n").await;
        let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1024]).await;
    })
    .await;
    router.route("babbling.com", "", &[&babbling]);
    let reply = router.get("http://babbling.com/").await;
    assert_eq!((reply.status.as_u16(), reply.body.as_str()), (502, body));

    let silent = App::bare(|stream, _| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    router.route("silent.com", "", &[&silent]);
    check_detail(
        &router.get("http://silent.com/").await,
        "endpoint_failure (request timeout)",
    );
    router
        .until("the place is free again", |r| r.table.in_flight("app-0") == 0)
        .await;
}

#[tokio::test]
async fn heads_of_a_megabyte() {
    let router = Router::start().await;
    let app = App::saying("ok").await;
    router.route("a.com", "", &[&app]);
    let large = |bytes: usize| {
        let mut request = request("http://a.com/");
        request
            .headers_mut()
            .insert("x-large", "x".repeat(bytes).parse().unwrap());
        request
    };
    let reply = router.send(large(1 << 20)).await;
    assert_eq!(reply.status, 431);
    assert_eq!(
        reply.header("x-cf-routererror"),
        Some("max-request-size-exceeded")
    );
    assert_eq!(reply.header("connection"), Some("close"));
    assert_eq!(reply.body, "");
    assert_eq!(app.hits(), 0);

    let far_too_large = format!(
        "GET / HTTP/1.1\r\nHost: a.com\r\nX: {}\r\n\r\n",
        "x".repeat(2 << 20)
    );
    let said = router.raw(far_too_large.as_bytes(), Duration::from_secs(5)).await;
    assert!(said.starts_with("HTTP/1.1 431 "), "{said}");
    let many = format!("GET / HTTP/1.1\r\nHost: a.com\r\n{}\r\n", "X: y\r\n".repeat(500));
    let said = router.raw(many.as_bytes(), Duration::from_secs(5)).await;
    assert!(said.starts_with("HTTP/1.1 431 "), "{said}");
}

#[tokio::test]
async fn this_router_does_not_tunnel() {
    let router = Router::start().await;
    let ask = b"CONNECT a.com:443 HTTP/1.1\r\nHost: a.com\r\n\r\n";
    let said = router.raw(ask, Duration::from_millis(300)).await;
    assert!(said.starts_with("HTTP/1.1 405 "), "{said}");
}
