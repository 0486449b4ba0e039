//! `logs`: recent and followed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::server::{Answer, Server};
use crate::terminal::{NOW, Person};

/// An envelope `millis` after the time of these tests.
pub fn envelope(millis: u64, source: &str, stream: &str, text: &str) -> Value {
    json!({"timestamp": ((NOW * 1000 + millis) * 1_000_000).to_string(), "source_id": "A", "instance_id": "0",
        "tags": {"source_type": source}, "log": {"payload": STANDARD.encode(text), "type": stream}})
}

pub fn batch(envelopes: &[Value]) -> Answer {
    Answer::json(200, json!({"envelopes": {"batch": envelopes}}))
}

#[tokio::test]
async fn recent_lines_come_oldest_first_and_in_smaller_bites_if_need_be() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    server.list("GET /v3/apps", json!([{"guid": "A", "name": "shop"}]));
    server.on("GET /api/v1/read/A", Answer::empty(429));
    server.on(
        "GET /api/v1/read/A",
        batch(&[
            envelope(20, "APP/PROC/WEB", "ERR", "two"),
            envelope(10, "STG", "OUT", "one\n"),
        ]),
    );
    let done = person.run("logs shop --recent").await.ends(0);
    let lines: Vec<&str> = done.out.lines().skip(2).map(str::trim_start).collect();
    assert!(
        lines[0].ends_with(" [STG/0] OUT one") && lines[0].starts_with("2023-11-1"),
        "{lines:?}"
    );
    assert!(lines[1].ends_with(" [APP/PROC/WEB/0] ERR two"), "{lines:?}");
    let asked = server.seen().pop().unwrap().line;
    assert!(
        asked.contains("limit=500&descending=true&envelope_types=LOG"),
        "{asked}"
    );
}

#[tokio::test]
async fn following_ends_when_nobody_reads() {
    let server = Server::start().await;
    let mut person = Person::at_work(&server).await;
    server.list("GET /v3/apps", json!([{"guid": "A", "name": "shop"}]));
    let line = |at: u64, text: &str| envelope(at, "APP/PROC/WEB", "OUT", text);
    server.on("GET /api/v1/read/A", batch(&[line(1000, "newest")]));
    server.on("GET /api/v1/read/A", batch(&[line(1000, "a"), line(1002, "c")]));
    server.on("GET /api/v1/read/A", Answer::empty(500));
    server.on(
        "GET /api/v1/read/A",
        batch(&[
            line(1000, "a"),
            line(1001, "b"),
            line(1002, "c"),
            line(1003, "the end"),
        ]),
    );
    // The last line is the one that nobody reads any more.
    person.patience = 265;
    let done = person
        .run("logs shop")
        .await
        .ends(0)
        .complains("Failed to retrieve logs from Log Cache");
    let texts: Vec<&str> = done
        .out
        .lines()
        .skip(2)
        .filter_map(|line| line.split(" OUT ").nth(1))
        .collect();
    assert_eq!(texts, ["a", "c", "b", "the end"]);
}

#[tokio::test]
async fn no_log_cache_is_an_error_for_recent_lines() {
    let server = Server::start().await;
    let person = Person::at_work(&server).await;
    server.list("GET /v3/apps", json!([{"guid": "A", "name": "shop"}]));
    let done = person.run("logs shop --recent").await.ends(1);
    done.complains("Failed to retrieve logs from Log Cache")
        .says(&["FAILED"]);
}
