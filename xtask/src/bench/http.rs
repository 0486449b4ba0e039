//! Asking over HTTP/1.1 with as little work of our own as possible.

use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Between two questions.
const STEP: Duration = Duration::from_millis(2);
const ONE_ANSWER: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `address` for `path` of `host`, each time on a new connection, until the answer is 200; gives the time from
/// `began` to then.
///
/// # Errors
/// When that never comes.
pub async fn first_200(
    address: &str,
    (host, path): (&str, &str),
    began: Instant,
) -> anyhow::Result<Duration> {
    loop {
        if let Ok(Ok(200)) = tokio::time::timeout(ONE_ANSWER, status(address, host, path)).await {
            return Ok(began.elapsed());
        }
        if began.elapsed() > PATIENCE {
            bail!(
                "http://{host}{path} at {address} did not answer 200 within {} s",
                PATIENCE.as_secs()
            );
        }
        tokio::time::sleep(STEP).await;
    }
}

async fn status(address: &str, host: &str, path: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let question = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(question.as_bytes()).await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    let code = answer.get(9..).and_then(|code| std::str::from_utf8(code).ok());
    Ok(code.and_then(|code| code.parse().ok()).unwrap_or(0))
}
