//! `wire::LogSink` against the real store over a real socket that comes and goes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::{SystemClock, Tasks};
use logs::{Entry, Ingest, Order, Range, Settings, Store};
use wire::LogSink;
use wire::v1::Envelope;

fn serve(socket: &Path, store: &Arc<Store>) -> Tasks {
    let tasks = Tasks::new();
    let incoming = wire::incoming(socket).unwrap();
    let service = Ingest::service(store.clone());
    tasks.spawn("logs", async move {
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming)
            .await
            .unwrap();
    });
    tasks
}

fn new_store() -> Arc<Store> {
    Arc::new(Store::new(Settings::default(), Arc::new(SystemClock)))
}

fn line(source_id: &str, text: impl Into<Vec<u8>>) -> Envelope {
    Envelope {
        timestamp_ns: 1,
        source_id: source_id.into(),
        payload: text.into(),
        ..Envelope::default()
    }
}

fn lines(store: &Store, source_id: &str) -> Vec<Entry> {
    store.read(
        source_id,
        &Range {
            start_ns: 0,
            end_ns: None,
            limit: usize::MAX,
            order: Order::Ascending,
        },
    )
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let bounded = tokio::time::timeout(Duration::from_secs(20), async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(bounded.await.is_ok(), "never happened: {what}");
}

#[tokio::test]
async fn nothing_is_lost_while_the_store_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, store, tasks) = (dir.path().join("logs.sock"), new_store(), Tasks::new());
    let sink = LogSink::start(&tasks, wire::connect(&socket));
    for n in 0..1200 {
        sink.emit(line("app", n.to_string()));
    }
    let first = serve(&socket, &store);
    until("first lines", || lines(&store, "app").len() == 1200).await;
    first.shutdown(Duration::from_secs(5)).await;
    std::fs::remove_file(&socket).unwrap();
    for n in 1200..2000 {
        sink.emit(line("app", n.to_string()));
    }
    let second = serve(&socket, &store);
    until("later lines", || lines(&store, "app").len() >= 2000).await;
    let got: Vec<_> = lines(&store, "app")
        .iter()
        .map(|l| String::from_utf8_lossy(&l.payload).into_owned())
        .collect();
    assert_eq!(got, (0..2000).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(store.dropped(), 0);
    tasks.shutdown(Duration::from_secs(5)).await;
    second.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn what_does_not_fit_is_told_to_its_readers() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, store, tasks) = (dir.path().join("logs.sock"), new_store(), Tasks::new());
    let sink = LogSink::start(&tasks, wire::connect(&socket));
    for _ in 0..10_500 {
        sink.emit(line("noisy", "x"));
    }
    sink.emit(line("huge", vec![b'x'; 2 << 20]));
    let server = serve(&socket, &store);
    // The single-threaded runtime let the sender take nothing meanwhile, so the losses are exact.
    until("all lines", || {
        lines(&store, "noisy").len() == 10_001 && lines(&store, "huge").len() == 1
    })
    .await;
    let notices: Vec<_> = lines(&store, "noisy")
        .into_iter()
        .filter(|l| l.origin.source_type == "LGR")
        .map(|l| l.payload)
        .collect();
    assert_eq!(notices, [Arc::from(*b"500 log lines were dropped")]);
    assert_eq!(store.dropped(), 501);
    tasks.shutdown(Duration::from_secs(5)).await;
    server.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn the_last_lines_are_brought_away_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, store, tasks) = (dir.path().join("logs.sock"), new_store(), Tasks::new());
    let server = serve(&socket, &store);
    let sink = LogSink::start(&tasks, wire::connect(&socket));
    for n in 0..3000 {
        sink.emit(line("app", n.to_string()));
    }
    tasks.shutdown(Duration::from_secs(10)).await;
    assert_eq!(lines(&store, "app").len(), 3000);
    server.shutdown(Duration::from_secs(5)).await;
}
