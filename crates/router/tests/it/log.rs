//! The access log.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use crate::fixture::{App, Router, answer, backend, dead, request};

/// Splits a line into its fields; quotes keep what is inside together.
fn fields(line: &str) -> Vec<String> {
    let (mut all, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => all.push(String::new()),
            _ => all.last_mut().unwrap().push(c),
        }
    }
    all
}

#[tokio::test]
async fn a_line_of_an_answered_request() {
    let router = Router::start_with(|settings| settings.index = 3).await;
    let app = App::http(|request| async move {
        let _ = http_body_util::BodyExt::collect(request.into_body()).await;
        answer("hello")
    })
    .await;
    router.route("a.com", "", &[&app]);
    let request = Request::post("http://a.com/p?q=1")
        .header("user-agent", "probe \"x\"")
        .header("x-forwarded-for", "9.9.9.9")
        .body(Full::<Bytes>::from("seven!!"))
        .unwrap();
    let reply = router.send(request).await;
    let line = router.line().await;
    assert_eq!(line.source_type, "RTR");
    assert_eq!((line.source_id.as_str(), line.instance_id.as_str()), ("app", "3"));
    assert!(line.timestamp_ns > 0 && !line.error);
    let text = String::from_utf8(line.payload).unwrap();
    assert!(!text.contains('\n'));
    assert!(text.contains(r#" "probe \"x\"" "#), "{text}");
    let fields = fields(&text.replace("\\\"", "'"));
    assert_eq!(fields[..2], ["a.com", "-"]);
    assert!(
        fields[2].starts_with("[20") && fields[2].ends_with("Z]") && fields[2].len() == 32,
        "{text}"
    );
    assert_eq!(fields[3], "POST /p?q=1 HTTP/1.1");
    assert_eq!(fields[4..9], ["200", "7", "5", "-", "probe 'x'"]);
    assert!(fields[9].starts_with("127.0.0.1:"), "{text}");
    assert_eq!(fields[10], app.address.to_string());
    assert_eq!(fields[11], "x_forwarded_for:9.9.9.9, 127.0.0.1");
    assert_eq!(fields[12], "x_forwarded_proto:http");
    let id = reply.header("x-vcap-request-id").unwrap();
    assert_eq!(fields[13], format!("vcap_request_id:{id}"));
    for (field, name) in [(14, "response_time:"), (15, "gorouter_time:")] {
        let seconds = fields[field].strip_prefix(name).unwrap();
        assert!(seconds.parse::<f64>().unwrap() < 10.0 && seconds.split('.').nth(1).unwrap().len() == 6);
    }
    assert_eq!(
        fields[16..20],
        [
            "app_id:app",
            "app_index:0",
            "instance_id:app-0",
            "x_cf_routererror:-"
        ]
    );
    let trace = id.replace('-', "");
    assert_eq!(fields[20], format!("x_b3_traceid:{trace}"));
    assert_eq!(fields[21], format!("x_b3_spanid:{}", &trace[..16]));
    assert_eq!(fields[22], "x_b3_parentspanid:-");
    assert_eq!(fields[23], format!("b3:{trace}-{}", &trace[..16]));
    assert_eq!(fields.len(), 24);
}

#[tokio::test]
async fn a_line_of_a_refused_request() {
    let router = Router::start().await;
    router.route_to("a.com", "", vec![backend(dead(), 4)]);
    let reply = router.send(request("http://a.com/")).await;
    let text = String::from_utf8(router.line().await.payload).unwrap();
    assert!(
        text.contains(&format!("\"GET / HTTP/1.1\" 502 0 {} ", reply.body.len())),
        "{text}"
    );
    assert!(text.contains(r#"app_index:"4""#), "{text}");
    assert!(
        text.contains(r#"x_cf_routererror:"endpoint_failure (dial: connection refused)""#),
        "{text}"
    );
}

#[tokio::test]
async fn a_line_of_a_client_that_left() {
    let router = Router::start().await;
    let app = App::http(|_| std::future::pending()).await;
    router.route("a.com", "", &[&app]);
    let left = async {
        router
            .until("a request in flight", |r| r.table.in_flight("app-0") == 1)
            .await;
    };
    // The client goes away while the app still thinks.
    tokio::select! {
        _ = router.raw(b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n", crate::fixture::SOON) => unreachable!(),
        () = left => {}
    }
    let text = String::from_utf8(router.line().await.payload).unwrap();
    assert!(text.contains("\"GET / HTTP/1.1\" 499 0 0 "), "{text}");
    router
        .until("the place is free again", |r| r.table.in_flight("app-0") == 0)
        .await;
}
