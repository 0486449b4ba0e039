//! Requests that two parsers could understand differently. Whatever the router makes of one, the app must see exactly
//! the requests the router believes it sent.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::sync::Mutex;

use crate::fixture::{App, Router, answer};

const QUIET: Duration = Duration::from_millis(150);

struct Case {
    name: &'static str,
    raw: &'static str,
    /// Status of the first answer; 0 for a closed connection without one.
    status: &'static [u16],
    /// What the app may have seen.
    seen: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "chunked wins over a length, and the connection ends",
        raw: "POST /a HTTP/1.1\r\nHost: a.com\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.com\r\n\r\n",
        status: &[200, 400],
        seen: &["POST /a "],
    },
    Case {
        name: "a length before chunked",
        raw: "POST /a HTTP/1.1\r\nHost: a.com\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n2\r\nhi\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.com\r\n\r\n",
        status: &[200, 400],
        seen: &["POST /a hi"],
    },
    Case {
        name: "two lengths",
        raw: "POST /a HTTP/1.1\r\nHost: a.com\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
        status: &[400],
        seen: &[],
    },
    Case {
        name: "a list of lengths",
        raw: "POST /a HTTP/1.1\r\nHost: a.com\r\nContent-Length: 5, 5\r\n\r\nhello",
        status: &[400],
        seen: &[],
    },
    Case {
        name: "a signed length",
        raw: "POST /a HTTP/1.1\r\nHost: a.com\r\nContent-Length: +5\r\n\r\nhello",
        status: &[400],
        seen: &[],
    },
    Case {
        name: "a space before the colon",
        raw: "POST /a HTTP/1.1\r\nHost: a.com\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        status: &[400],
        seen: &[],
    },
    Case {
        name: "an unknown coding",
        raw: "POST /a HTTP/1.1\r\nHost: a.com\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        status: &[400],
        seen: &[],
    },
    Case {
        name: "a coding under the chunks",
        raw: "POST /a HTTP/1.1\r\nHost: a.com\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        status: &[400],
        seen: &[],
    },
    Case {
        name: "chunked twice over two headers",
        raw: "POST /a HTTP/1.1\r\nHost: a.com\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        status: &[400],
        seen: &[],
    },
    Case {
        name: "chunked in HTTP/1.0",
        raw: "POST /a HTTP/1.0\r\nHost: a.com\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        status: &[400],
        seen: &[],
    },
    Case {
        name: "a chunk size that is none",
        raw: "POST /a HTTP/1.1\r\nHost: a.com\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        status: &[400, 0],
        seen: &[],
    },
    Case {
        name: "a chunk size beyond all numbers",
        raw: "POST /a HTTP/1.1\r\nHost: a.com\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        status: &[400, 0],
        seen: &[],
    },
    Case {
        name: "a folded header",
        raw: "GET /a HTTP/1.1\r\nHost: a.com\r\nX-A: 1\r\n X-B: 2\r\n\r\n",
        status: &[400],
        seen: &[],
    },
    Case {
        name: "a bare carriage return in a header",
        raw: "GET /a HTTP/1.1\r\nHost: a.com\r\nX-A: 1\rX-B: 2\r\n\r\n",
        status: &[400],
        seen: &[],
    },
    Case {
        name: "a null byte in a header",
        raw: "GET /a HTTP/1.1\r\nHost: a.com\r\nX-A: 1\0\r\n\r\n",
        status: &[400],
        seen: &[],
    },
    Case {
        name: "two hosts",
        raw: "GET /a HTTP/1.1\r\nHost: a.com\r\nHost: b.com\r\n\r\n",
        status: &[400],
        seen: &[],
    },
    Case {
        name: "a line break in the target",
        raw: "GET /a\nb HTTP/1.1\r\nHost: a.com\r\n\r\n",
        status: &[400],
        seen: &[],
    },
    Case {
        name: "a version of its own",
        raw: "GET /a HTTP/9.9\r\nHost: a.com\r\n\r\n",
        status: &[400],
        seen: &[],
    },
    Case {
        name: "the framing named as a hop-by-hop header",
        raw: "POST /a HTTP/1.1\r\nHost: a.com\r\nConnection: content-length, host\r\nContent-Length: 5\r\n\r\nhello",
        status: &[200],
        seen: &["POST /a hello"],
    },
    Case {
        name: "a body of a GET is no second request",
        raw: "GET /a HTTP/1.1\r\nHost: a.com\r\nContent-Length: 37\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.com\r\n",
        status: &[200],
        seen: &["GET /a GET /smuggled HTTP/1.1\r\nHost: a.com\r\n"],
    },
    Case {
        name: "honest pipelining",
        raw: "GET /a HTTP/1.1\r\nHost: a.com\r\n\r\nGET /b HTTP/1.1\r\nHost: a.com\r\nConnection: close\r\n\r\n",
        status: &[200],
        seen: &["GET /a ", "GET /b "],
    },
];

#[tokio::test]
async fn both_sides_agree_on_what_a_request_is() {
    let router = Router::start().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let app = App::http(move |request| {
        let noted = noted.clone();
        async move {
            assert_eq!(request.headers().get("host").unwrap(), "a.com");
            let line = format!("{} {} ", request.method(), request.uri());
            if let Ok(body) = request.into_body().collect().await {
                noted
                    .lock()
                    .await
                    .push(line + &String::from_utf8_lossy(&body.to_bytes()));
            }
            answer("x")
        }
    })
    .await;
    router.route("a.com", "", &[&app]);
    for case in CASES {
        seen.lock().await.clear();
        let said = router.raw(case.raw.as_bytes(), QUIET).await;
        let status = said
            .get(9..12)
            .and_then(|status| status.parse().ok())
            .unwrap_or(0);
        assert!(case.status.contains(&status), "{}: {said}", case.name);
        assert_eq!(*seen.lock().await, case.seen, "{}: {said}", case.name);
    }
}

/// The same from the other side: what a backend frames twice must not reach the client so.
#[tokio::test]
async fn answers_are_framed_anew() {
    let router = Router::start().await;
    let app = App::bare(|mut stream, _| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let _ = stream.read(&mut [0; 4096]).await;
        let response = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        let _ = stream.write_all(response.as_bytes()).await;
    })
    .await;
    router.route("a.com", "", &[&app]);
    let said = router.raw(b"GET / HTTP/1.1\r\nHost: a.com\r\n\r\n", QUIET).await;
    let head = said.to_lowercase();
    let framings =
        usize::from(head.contains("content-length")) + usize::from(head.contains("transfer-encoding"));
    assert_eq!(framings, 1, "{said}");
    assert!(said.contains("hello"), "{said}");
}
