//! The demo's app: one page that tells who answered.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

fn main() {
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).expect("the port is free");
    println!("hello listens on port {port}");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            let _ = answer(stream);
        });
    }
}

fn answer(stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    println!("{request}");
    let index = std::env::var("CF_INSTANCE_INDEX").unwrap_or_default();
    let user = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let host = user.split_whitespace().nth(1).unwrap_or("?").to_owned();
    let body = format!(
        "Hello from Slipway!\nI am instance {index}. Inside I am root; on the host I am user {host}, who may do nothing.\n"
    );
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}
