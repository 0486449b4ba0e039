//! Honest faults: nothing that came is fetched twice, every wait ends, every error names whom and what.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use base::{Clock, SystemClock};
use image::{Client, ErrorKind, ResolveError};
use testkit::made_up::noise;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::scripted::{Answer, Asked, Ending, Server};
use crate::{OneLayer, client, digest, loopback_client, platform, read_all, reference, settings};

async fn fetch(client: &Client, host: &str, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let image = reference(&format!("{host}/app"));
    let reader = client
        .blob(&image, None, &digest(bytes), bytes.len() as u64)
        .await
        .map_err(std::io::Error::other)?;
    read_all(reader).await
}

fn cause(error: &std::io::Error) -> &ResolveError {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref())
        .expect("an error of the client")
}

#[tokio::test]
async fn a_registry_that_trickles_is_given_up_in_time() {
    let bytes = noise(40, 5000);
    let body = bytes.clone();
    let server = Server::start(move |asked| {
        Answer::range(&body, asked.range_from()).ending(Ending::Trickle(Duration::from_millis(20)))
    })
    .await;
    let mut settings = settings(&[&server.host]);
    settings.timeouts.patience = Duration::from_millis(300);
    let start = Instant::now();
    let error = fetch(&Client::new(settings).unwrap(), &server.host, &bytes)
        .await
        .unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(5));
    let text = cause(&error).to_string();
    for part in [server.host.as_str(), "/app", "too slow", "of 5000 bytes"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(cause(&error).is_transient());
}

#[tokio::test]
async fn a_document_that_trickles_is_given_up_in_time() {
    let server = Server::start(|_| {
        Answer::new(200, vec![b' '; 5000]).ending(Ending::Trickle(Duration::from_millis(20)))
    })
    .await;
    let mut settings = settings(&[&server.host]);
    settings.timeouts.response = Duration::from_millis(100);
    settings.max_retries = 1;
    let image = reference(&format!("{}/app", server.host));
    let client = Client::new(settings).unwrap();
    let error = client
        .resolve(&image, None, &platform("amd64"))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("did not end within 0.1 s") && text.contains(&image.canonical()),
        "{text}"
    );
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_reset_at_any_byte_costs_nothing_that_came() {
    let bytes = noise(41, 20_000);
    for ranges in [true, false] {
        for cut in [0, 1, 2, 511, 4096, 9999, 16_384, 19_998, 19_999] {
            let (body, count) = (bytes.clone(), AtomicUsize::new(0));
            let server = Server::start(move |asked| {
                let answer = match ranges {
                    true => Answer::range(&body, asked.range_from()),
                    false => Answer::new(200, body.clone()),
                };
                match count.fetch_add(1, Ordering::SeqCst) {
                    0 => answer.ending(Ending::Cut(cut)),
                    _ => answer,
                }
            })
            .await;
            let got = fetch(&client(&[&server.host]), &server.host, &bytes)
                .await
                .unwrap();
            assert!(got == bytes, "{ranges} {cut}");
            let from: Vec<usize> = server.asked().iter().map(Asked::range_from).collect();
            assert_eq!(from, [0, cut], "{ranges}");
        }
    }
}

#[tokio::test]
async fn a_rate_limit_in_mid_blob_is_waited_for_to_its_date() {
    let bytes = noise(42, 10_000);
    let (body, count) = (bytes.clone(), AtomicUsize::new(0));
    // A date has whole seconds: the shortest wait is between one and two of them.
    let until = SystemClock.now() + Duration::from_secs(2);
    let since = until.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let date = jiff::Timestamp::from_second(since.try_into().unwrap()).unwrap();
    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&date)
        .unwrap();
    let server = Server::start(move |asked| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::new(200, body.clone()).ending(Ending::Cut(6000)),
        1 => Answer::new(429, "").with("retry-after", &date),
        2 | 3 => Answer::new(503, ""),
        _ => Answer::range(&body, asked.range_from()),
    })
    .await;
    let start = Instant::now();
    assert!(
        fetch(&client(&[&server.host]), &server.host, &bytes)
            .await
            .unwrap()
            == bytes
    );
    assert!(
        start.elapsed() > Duration::from_millis(500),
        "{:?}",
        start.elapsed()
    );
    let from: Vec<usize> = server.asked().iter().map(Asked::range_from).collect();
    assert_eq!(from, [0, 6000, 6000, 6000, 6000]);
}

#[tokio::test]
async fn a_token_that_ends_in_mid_pull_is_renewed() {
    let bytes = noise(43, 10_000);
    let issued = Arc::new(AtomicUsize::new(0));
    let count = issued.clone();
    let tokens = Server::start(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        Answer::new(200, format!(r#"{{"token":"t{number}","expires_in":300}}"#))
    })
    .await;
    let realm = format!("Bearer realm=\"http://{}/t\"", tokens.host);
    let body = bytes.clone();
    // The first token is good for the first half only.
    let registry = Server::start(
        move |asked| match (asked.header("authorization"), asked.range_from()) {
            (Some("Bearer t1"), 0) => Answer::new(200, body.clone()).ending(Ending::Cut(5000)),
            (Some("Bearer t2"), from) => Answer::range(&body, from),
            _ => Answer::new(401, "").with("www-authenticate", &realm),
        },
    )
    .await;
    let client = client(&[&registry.host, &tokens.host]);
    assert!(fetch(&client, &registry.host, &bytes).await.unwrap() == bytes);
    assert_eq!(issued.load(Ordering::SeqCst), 2);
    let from: Vec<usize> = registry.asked().iter().map(Asked::range_from).collect();
    assert_eq!(from, [0, 0, 5000, 5000]);
}

#[tokio::test]
async fn all_that_wait_for_one_token_share_it() {
    let tokens = Server::start(|_| Answer::new(200, r#"{"token":"t"}"#)).await;
    let realm = format!("Bearer realm=\"http://{}/t\"", tokens.host);
    let whole = OneLayer::new(noise(44, 1000));
    let layer = whole.layer.clone();
    let registry = Server::start(move |asked| match asked.header("authorization") {
        Some("Bearer t") => whole.answer(asked),
        _ => Answer::new(401, "").with("www-authenticate", &realm),
    })
    .await;
    let client = client(&[&registry.host, &tokens.host]);
    let (host, layer) = (registry.host.as_str(), layer.as_slice());
    let pulls = (0..20).map(|_| fetch(&client, host, layer));
    let all: Vec<_> = futures_util::future::join_all(pulls).await;
    assert!(all.into_iter().all(|got| got.unwrap() == layer));
    assert_eq!(tokens.asked().len(), 1);
}

#[tokio::test]
async fn all_that_wait_for_one_token_hear_of_one_failure() {
    let tokens = Server::start(|_| Answer::new(403, "")).await;
    let realm = format!("Bearer realm=\"http://{}/t\"", tokens.host);
    let registry = Server::start(move |_| Answer::new(401, "").with("www-authenticate", &realm)).await;
    let client = client(&[&registry.host, &tokens.host]);
    let pulls = (0..20).map(|_| fetch(&client, &registry.host, b"x"));
    let all: Vec<_> = futures_util::future::join_all(pulls).await;
    for outcome in all {
        assert_eq!(cause(&outcome.unwrap_err()).kind(), ErrorKind::Unauthorized);
    }
    // Whoever came after the failure asks again; not each of them.
    assert!(tokens.asked().len() < 20, "{}", tokens.asked().len());
}

/// Set in the second run, which happens where there is no network at all.
const ALONE: &str = "IMAGE_TEST_WITHOUT_NETWORK";

#[tokio::test]
async fn a_name_that_does_not_resolve_is_named() {
    if std::env::var_os(ALONE).is_some() {
        for host in [
            format!("{}.example", "a".repeat(70)),
            "registry.invalid".to_owned(),
        ] {
            let image = reference(&format!("{host}/app"));
            let error = client(&[])
                .resolve(&image, None, &platform("amd64"))
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
            let text = error.to_string();
            assert!(
                text.contains(&format!("the name {host} does not resolve")),
                "{text}"
            );
            assert!(text.contains("/app:latest") && error.is_transient(), "{text}");
        }
        return;
    }
    let mut alone = std::process::Command::new("unshare");
    alone
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "faults::a_name_that_does_not_resolve_is_named",
            "--nocapture",
        ])
        .env(ALONE, "1");
    let ended = tokio::task::spawn_blocking(move || alone.output().unwrap())
        .await
        .unwrap();
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

#[tokio::test]
async fn a_greeting_that_fails_is_a_fault_of_tls() {
    for reply in [&b"\x15\x03\x03\x00\x02\x02\x28"[..], &b"SSH-2.0-x\r\n"[..]] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let tasks = base::Tasks::new();
        tasks.spawn("no TLS", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(reply).await;
            }
        });
        let image = reference(&format!("{host}/app"));
        let error = loopback_client()
            .resolve(&image, None, &platform("amd64"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
        assert!(
            error.to_string().contains(&host) && error.to_string().contains("/app:latest"),
            "{error}"
        );
    }
}
