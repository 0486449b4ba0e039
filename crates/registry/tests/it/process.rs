//! The registry as a real process: killed in the middle of a push, left by its client, refusing while a client sends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use axum::http::StatusCode;
use base::Tasks;

use crate::house::{ALICE, Client, digest, files, noise, open, serve, until};

const DIR: &str = "SLIPWAY_REGISTRY_TEST_DIR";

/// Not a test by itself: the process that the test below kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_to_be_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let tasks = Tasks::new();
    println!("\naddress={}", serve(&tasks, open(Path::new(&dir))).await);
    // Ends when killed, or when the test that started it is gone.
    tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0; 1]).ok())
        .await
        .unwrap();
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::process_to_be_killed", "--nocapture"])
            .env(DIR, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        let address = lines
            .find_map(|line| line.strip_prefix("address=").map(str::to_owned))
            .unwrap();
        Self { child, address }
    }

    /// Sends a request and leaves the connection open; the body may be shorter than announced.
    fn send(&self, head: &str, length: usize, body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let text = format!(
            "{head} HTTP/1.1\r\nHost: x\r\nAuthorization: {ALICE}\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(text.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        stream
    }

    fn head_of_reply(stream: TcpStream) -> Vec<String> {
        BufReader::new(stream)
            .lines()
            .map(Result::unwrap)
            .take_while(|line| !line.is_empty())
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn killed_in_the_middle_of_a_push() {
    let dir = tempfile::tempdir().unwrap();
    let kept = noise(1, 1 << 20);
    let kept_digest = digest(&kept);
    let server = Server::start(dir.path());
    let path = format!("POST /v2/alice/app/blobs/uploads/?digest={kept_digest}");
    let reply = Server::head_of_reply(server.send(&path, kept.len(), &kept));
    assert!(reply[0].contains("201"), "{reply:?}");

    let begun = Server::head_of_reply(server.send("POST /v2/alice/app/blobs/uploads/", 0, b""));
    let location = begun
        .iter()
        .find_map(|line| line.strip_prefix("location: "))
        .unwrap()
        .to_owned();
    let half = noise(2, 4 << 20);
    let _open = server.send(&format!("PATCH {location}"), half.len() * 2, &half);
    let uploads = dir.path().join("uploads");
    let arrived = async || {
        files(&uploads)
            .iter()
            .any(|file| file.metadata().is_ok_and(|m| m.len() > 1 << 20))
    };
    until("half the blob on disk", arrived).await;
    drop(server);
    assert_eq!(files(&uploads).len(), 1, "the kill came too late");

    let client = Client::new(&open(dir.path()), ALICE);
    assert!(files(&uploads).is_empty());
    assert_eq!(client.get(&location).await.code(), "BLOB_UPLOAD_UNKNOWN");
    assert!(
        client
            .get(&format!("/v2/alice/app/blobs/{kept_digest}"))
            .await
            .body
            == kept
    );
    client.push_image("alice/app", "v1", &half).await;
    assert_eq!(
        client.get("/v2/alice/app/manifests/v1").await.status,
        StatusCode::OK
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_leaves_an_upload_to_go_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let begun = Server::head_of_reply(server.send("POST /v2/alice/app/blobs/uploads/", 0, b""));
    let location = begun
        .iter()
        .find_map(|line| line.strip_prefix("location: "))
        .unwrap()
        .to_owned();
    let content = noise(3, 3 << 20);
    let vanishing = server.send(&format!("PATCH {location}"), content.len(), &content[..2 << 20]);
    drop(vanishing);
    let status = || {
        let reply = Server::head_of_reply(server.send(&format!("GET {location}"), 0, b""));
        let range = reply
            .iter()
            .find_map(|line| line.strip_prefix("range: 0-"))
            .unwrap();
        range.parse::<usize>().unwrap() + 1
    };
    until("the bytes that were sent", async || status() == 2 << 20).await;
    let path = format!("PUT {location}?digest={}", digest(&content));
    let reply = Server::head_of_reply(server.send(&path, 1 << 20, &content[2 << 20..]));
    assert!(reply[0].contains("201"), "{reply:?}");
}

#[tokio::test]
async fn a_refused_client_that_is_still_sending_hears_why() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let content = noise(4, 12 << 20);
    for (head, status) in [
        ("PATCH /v2/alice/app/blobs/uploads/unknown", "404"),
        ("PUT /v2/bob/app/manifests/v1", "403"),
        ("PUT /v2/alice/UPPER/manifests/v1", "400"),
        ("PUT /v2/alice/app/blobs/uploads/x?digest=y", "400"),
    ] {
        let reply = Server::head_of_reply(server.send(head, content.len(), &content));
        assert!(reply[0].contains(status), "{head}: {reply:?}");
    }
}
