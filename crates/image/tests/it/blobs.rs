//! Blobs over connections that break, and blobs that are not what they should be.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::Tasks;
use image::{BlobReader, Client, ErrorKind, ResolveError};
use testkit::docker_registry::{DockerRegistry, Guard};
use testkit::made_up::noise;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::scripted::{Answer, Ending, Server};
use crate::{client, digest, read_all, reference, settings};

async fn open(client: &Client, host: &str, bytes: &[u8]) -> BlobReader {
    let image = reference(&format!("{host}/app"));
    client
        .blob(&image, None, &digest(bytes), bytes.len() as u64)
        .await
        .unwrap()
}

fn cause(error: &std::io::Error) -> &ResolveError {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref())
        .expect("an error of the client")
}

/// Forwards to `upstream`, and cuts each connection after so many bytes of its answer.
async fn cutting_proxy(tasks: &Tasks, upstream: String, after: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let cuts = Arc::new(AtomicUsize::new(0));
    let (count, connections) = (cuts.clone(), Tasks::under(&tasks.token()));
    tasks.spawn("proxy", async move {
        while let Ok((client, _)) = listener.accept().await {
            let (upstream, count) = (upstream.clone(), count.clone());
            connections.spawn("proxy connection", async move {
                if let Ok(server) = TcpStream::connect(upstream).await
                    && forward(client, server, after).await
                {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    (host, cuts)
}

/// True when it cut the connection.
async fn forward(client: TcpStream, server: TcpStream, after: usize) -> bool {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        false
    };
    let down = async {
        let mut left = after;
        let mut buffer = vec![0; 16 * 1024];
        while left > 0 {
            let room = buffer.len().min(left);
            match from_server.read(&mut buffer[..room]).await {
                Ok(count) if count > 0 && to_client.write_all(&buffer[..count]).await.is_ok() => {
                    left -= count
                }
                _ => return false,
            }
        }
        true
    };
    // Both sides only copy; whichever ends first ends the connection.
    tokio::select! {
        cut = up => cut,
        cut = down => cut,
    }
}

#[tokio::test]
async fn a_cut_connection_is_resumed_where_it_broke() {
    let registry = DockerRegistry::start(&Guard::Open).await.unwrap();
    let bytes = noise(8, 5_000_000);
    let pusher = registry.pusher().unwrap();
    pusher.blob("app", &bytes).await.unwrap();
    let tasks = Tasks::new();
    let (host, cuts) = cutting_proxy(&tasks, registry.host(), 1_200_000).await;
    // One retry in a row: each connection that gets somewhere gives it back.
    let settings = image::Settings {
        max_retries: 1,
        ..settings(&[&host])
    };
    let reader = open(&Client::new(settings).unwrap(), &host, &bytes).await;
    let progress = reader.progress();
    assert!(read_all(reader).await.unwrap() == bytes);
    assert_eq!(progress.load(Ordering::Relaxed), bytes.len() as u64);
    assert_eq!(cuts.load(Ordering::SeqCst), 4);
    tasks.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_stalled_connection_is_resumed() {
    let bytes = noise(9, 100_000);
    let body = bytes.clone();
    let server = Server::start(move |asked| match asked.range_from() {
        0 => Answer::new(200, body.clone()).ending(Ending::Stall(60_000)),
        from => Answer::range(&body, from),
    })
    .await;
    let mut settings = settings(&[&server.host]);
    settings.timeouts.stall = Duration::from_millis(100);
    let reader = open(&Client::new(settings).unwrap(), &server.host, &bytes).await;
    let read = tokio::time::timeout(Duration::from_secs(20), read_all(reader));
    assert!(read.await.expect("a stall is noticed").unwrap() == bytes);
    let from: Vec<usize> = server.asked().iter().map(|asked| asked.range_from()).collect();
    assert_eq!(from, [0, 60_000]);
}

#[tokio::test]
async fn a_registry_without_ranges_is_read_again_from_its_start() {
    let bytes = noise(10, 100_000);
    let (body, count) = (bytes.clone(), AtomicUsize::new(0));
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::new(200, body.clone()).ending(Ending::Cut(70_000)),
        _ => Answer::new(200, body.clone()),
    })
    .await;
    let reader = open(&client(&[&server.host]), &server.host, &bytes).await;
    assert!(read_all(reader).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_connection_that_always_breaks_is_given_up() {
    let bytes = noise(11, 1000);
    let body = bytes.clone();
    let server =
        Server::start(move |asked| Answer::range(&body, asked.range_from()).ending(Ending::Cut(1))).await;
    let error = read_all(open(&client(&[&server.host]), &server.host, &bytes).await)
        .await
        .unwrap_err();
    assert_eq!(cause(&error).kind(), ErrorKind::Unreachable, "{error}");
    assert_eq!(server.asked().len(), 5);
}

#[tokio::test]
async fn forged_bytes_are_never_read_to_their_end() {
    let bytes = noise(12, 100_000);
    let mut forged = bytes.clone();
    forged[99_999] ^= 1;
    let server = Server::start(move |_| Answer::new(200, forged.clone())).await;
    let client = client(&[&server.host]);
    let mut reader = open(&client, &server.host, &bytes).await;
    let wanted = bytes.len();
    let outcome = tokio::task::spawn_blocking(move || {
        let mut got = Vec::new();
        let first = reader.read_to_end(&mut got).unwrap_err();
        assert!(got.len() < wanted, "a consumer saw the whole forged blob");
        let again = reader.read(&mut [0; 10]).unwrap_err();
        (first, again)
    });
    let (first, again) = outcome.await.unwrap();
    assert_eq!(
        (first.kind(), again.kind()),
        (std::io::ErrorKind::InvalidData, std::io::ErrorKind::InvalidData)
    );
    let reader = open(&client, &server.host, &bytes).await;
    assert!(
        tokio::task::spawn_blocking(|| reader.finish())
            .await
            .unwrap()
            .is_err()
    );
}

#[tokio::test]
async fn a_blob_of_another_size_is_refused() {
    let bytes = noise(13, 1000);
    let body = bytes.clone();
    let server = Server::start(move |asked| match asked.path.contains("/chunked/") {
        false => Answer::new(200, body.clone()),
        true => {
            let mut chunked = format!("{:x}\r\n", body.len()).into_bytes();
            chunked.extend_from_slice(&body);
            chunked.extend_from_slice(b"\r\n0\r\n\r\n");
            Answer::new(200, chunked).with("transfer-encoding", "chunked")
        }
    })
    .await;
    let client = client(&[&server.host]);
    for (name, size, kind) in [
        ("app", 999, ErrorKind::Malformed),
        ("app", 1001, ErrorKind::Malformed),
        ("app", 0, ErrorKind::Malformed),
        ("chunked/app", 999, ErrorKind::Malformed),
        ("chunked/app", 1001, ErrorKind::Unreachable),
    ] {
        let image = reference(&format!("{}/{name}", server.host));
        let reader = client.blob(&image, None, &digest(&bytes), size).await.unwrap();
        let error = read_all(reader).await.unwrap_err();
        assert_eq!(cause(&error).kind(), kind, "{name} {size}: {error}");
    }
}

#[tokio::test]
async fn another_range_than_asked_for_is_refused() {
    let bytes = noise(15, 1000);
    let body = bytes.clone();
    let server = Server::start(move |asked| match asked.range_from() {
        0 => Answer::new(200, body.clone()).ending(Ending::Cut(500)),
        from => Answer::range(&body, from + 1),
    })
    .await;
    let error = read_all(open(&client(&[&server.host]), &server.host, &bytes).await)
        .await
        .unwrap_err();
    assert_eq!(cause(&error).kind(), ErrorKind::Malformed, "{error}");
}

#[tokio::test]
async fn a_dropped_reader_ends_the_fetch() {
    let bytes = noise(14, 100_000);
    let body = bytes.clone();
    let server = Server::start(move |_| Answer::new(200, body.clone()).ending(Ending::Stall(50_000))).await;
    let client = client(&[&server.host]);
    let reader = open(&client, &server.host, &bytes).await;
    drop(reader);
    server.hung_up().await;
}
