//! A small HTTP/1.1 server that answers as a test says and remembers what it was asked. Each connection serves one
//! request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use base::Tasks;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// By lower-case name.
    pub headers: HashMap<String, String>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// First byte of a `Range`, 0 without one.
    pub fn range_from(&self) -> usize {
        let from = self
            .header("range")
            .and_then(|r| r.strip_prefix("bytes="))
            .and_then(|r| r.strip_suffix('-'));
        from.map_or(0, |digits| digits.parse().expect("a number"))
    }
}

/// What to answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub ending: Ending,
}

/// What happens after the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All of it is sent.
    Whole,
    /// The connection is cut after so many bytes.
    Cut(usize),
    /// Nothing more comes after so many bytes; the server notes when the client hangs up.
    Stall(usize),
    /// One byte after the other, with this pause between them.
    Trickle(std::time::Duration),
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            ending: Ending::Whole,
        }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// The part of `whole` from `from` on, as 200 or 206.
    pub fn range(whole: &[u8], from: usize) -> Self {
        if from == 0 {
            return Self::new(200, whole);
        }
        let range = format!("bytes {from}-{}/{}", whole.len() - 1, whole.len());
        Self::new(206, &whole[from..]).with("content-range", &range)
    }
}

pub type Script = dyn Fn(&Asked) -> Answer + Send + Sync;

/// The server; ends when dropped.
pub struct Server {
    pub host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    hung_up: tokio::sync::watch::Receiver<usize>,
    _tasks: Tasks,
}

impl Server {
    pub async fn start(script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (ended, hung_up) = tokio::sync::watch::channel(0);
        let (script, log): (Arc<Script>, _) = (Arc::new(script), asked.clone());
        let (tasks, ended) = (Tasks::new(), Arc::new(ended));
        let connections = Tasks::new();
        tasks.spawn("scripted server", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, log, ended) = (script.clone(), log.clone(), ended.clone());
                connections.spawn("scripted connection", async move {
                    let _ = serve(stream, &*script, &log, &ended).await;
                });
            }
        });
        Self {
            host,
            asked,
            hung_up,
            _tasks: tasks,
        }
    }

    /// Everything asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no holder panics").clone()
    }

    /// Waits until a client has hung up on a stalled answer.
    pub async fn hung_up(&self) {
        let mut hung_up = self.hung_up.clone();
        let wait = hung_up.wait_for(|count| *count > 0);
        tokio::time::timeout(std::time::Duration::from_secs(10), wait)
            .await
            .expect("the client hangs up")
            .expect("the server runs");
    }
}

/// Serves one request.
pub async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: &Script,
    log: &Mutex<Vec<Asked>>,
    ended: &tokio::sync::watch::Sender<usize>,
) -> std::io::Result<()> {
    let Some(asked) = read_request(&mut stream).await? else {
        return Ok(());
    };
    let mut answer = script(&asked);
    if asked.method == "HEAD" {
        answer.body.clear();
        answer.ending = Ending::Whole;
    }
    log.lock().expect("no holder panics").push(asked);
    let mut head = format!("HTTP/1.1 {} Status\r\nconnection: close\r\n", answer.status);
    if !answer.headers.iter().any(|(name, _)| name == "transfer-encoding") {
        head += &format!("content-length: {}\r\n", answer.body.len());
    }
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes()).await?;
    match answer.ending {
        Ending::Whole => stream.write_all(&answer.body).await?,
        Ending::Cut(count) => stream.write_all(&answer.body[..count]).await?,
        Ending::Trickle(pause) => {
            for byte in &answer.body {
                stream.write_all(&[*byte]).await?;
                tokio::time::sleep(pause).await;
            }
        }
        Ending::Stall(count) => {
            stream.write_all(&answer.body[..count]).await?;
            let _ = stream.read(&mut [0; 1]).await;
            ended.send_modify(|count| *count += 1);
        }
    }
    stream.shutdown().await
}

/// `None` for what is not HTTP, such as a TLS greeting: the connection is closed.
async fn read_request(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<Option<Asked>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0; 1];
        if stream.read(&mut byte).await? == 0 || byte[0] == 0x16 {
            stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await?;
            return Ok(None);
        }
        bytes.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut lines = text.lines();
    let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers = lines
        .filter_map(|l| l.split_once(':'))
        .map(|(n, v)| (n.to_lowercase(), v.trim().to_owned()));
    Ok(Some(Asked {
        method,
        path,
        headers: headers.collect(),
    }))
}
