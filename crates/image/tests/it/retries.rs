//! What is tried again, how often, and when not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use image::{ErrorKind, ResolveError};

use crate::scripted::{Answer, Ending, Server};
use crate::{client, loopback_client, platform, reference};

/// Gives `first` so many times, then 404: the end of what is looked at here.
async fn failing(times: usize, first: Answer) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) < times {
        true => first.clone(),
        false => Answer::new(404, ""),
    })
    .await
}

async fn error_of(server: &Server) -> ResolveError {
    let image = reference(&format!("{}/app", server.host));
    client(&[&server.host])
        .resolve(&image, None, &platform("amd64"))
        .await
        .unwrap_err()
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let server = failing(1, Answer::new(429, "").with("retry-after", "1")).await;
    let start = Instant::now();
    assert_eq!(error_of(&server).await.kind(), ErrorKind::NotFound);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_long_retry_after_is_reported_instead() {
    let server = failing(9, Answer::new(429, "").with("retry-after", "21600")).await;
    match error_of(&server).await {
        ResolveError::RateLimited {
            host, retry_after, ..
        } => {
            assert_eq!(
                (host, retry_after),
                (server.host.clone(), Some(Duration::from_secs(21_600)))
            );
        }
        other => panic!("{other}"),
    }
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn tries_are_bounded() {
    for status in [429, 500, 502, 503, 504] {
        let server = failing(
            99,
            Answer::new(status, r#"{"errors":[{"code":"UNAVAILABLE","message":"x"}]}"#),
        )
        .await;
        let error = error_of(&server).await;
        let kind = if status == 429 {
            ErrorKind::RateLimited
        } else {
            ErrorKind::Failing
        };
        assert_eq!((error.kind(), server.asked().len()), (kind, 5), "{error}");
        assert!(error.is_transient());
        assert!(
            status == 429 || error.to_string().contains("(UNAVAILABLE)"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn faults_that_stay_are_not_tried_again() {
    for (status, kind) in [
        (400, ErrorKind::Failing),
        (403, ErrorKind::Unauthorized),
        (401, ErrorKind::Unauthorized),
        (404, ErrorKind::NotFound),
    ] {
        let server = failing(99, Answer::new(status, "")).await;
        let error = error_of(&server).await;
        assert_eq!(
            (error.kind(), server.asked().len()),
            (kind, 1),
            "{status}: {error}"
        );
    }
}

#[tokio::test]
async fn a_manifest_cut_short_is_fetched_again() {
    let server = failing(
        2,
        Answer::new(200, "{\"schemaVersion\":2}").ending(Ending::Cut(5)),
    )
    .await;
    assert_eq!(error_of(&server).await.kind(), ErrorKind::NotFound);
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn nobody_at_home_is_said() {
    // A port that was free a moment ago, and is held without listening.
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = held.local_addr().unwrap().to_string();
    drop(held);
    let image = reference(&format!("{host}/app"));
    let error = loopback_client()
        .resolve(&image, None, &platform("amd64"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(
        error.to_string().contains(&host) && error.to_string().contains("refused"),
        "{error}"
    );
}
