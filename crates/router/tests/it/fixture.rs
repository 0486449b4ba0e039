//! A router, apps behind it and clients before it, all on loopback and gone when dropped.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base::{CancellationToken, Tasks};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use router::{Listener, Settings, Table};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use wire::v1;

/// Bound on every wait of a test.
pub const SOON: Duration = Duration::from_secs(20);

pub type Answer = Response<BoxBody<Bytes, hyper::Error>>;

pub struct Router {
    pub address: SocketAddr,
    pub tls: Option<SocketAddr>,
    pub table: Arc<Table>,
    pub shutdown: CancellationToken,
    pub ended: CancellationToken,
    lines: Mutex<mpsc::Receiver<v1::Envelope>>,
    tasks: Tasks,
}

pub fn bind() -> StdListener {
    StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

impl Router {
    /// A router with an empty, filled table.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let router = Self::start_unfilled(change, None).await;
        router.apply(v1::RouteUpdate {
            snapshot: true,
            ..Default::default()
        });
        router
    }

    pub async fn start_unfilled(
        change: impl FnOnce(&mut Settings),
        certificates: Option<Arc<router::Certificates>>,
    ) -> Self {
        let (sender, lines) = mpsc::channel(10_000);
        let mut settings = Settings::new(Arc::new(move |line| {
            let _ = sender.try_send(line);
        }));
        settings.drain = Duration::from_secs(5);
        change(&mut settings);
        let (socket, tls_socket) = (bind(), bind());
        let address = socket.local_addr().unwrap();
        let tls = certificates.as_ref().map(|_| tls_socket.local_addr().unwrap());
        let mut listeners = vec![Listener::Http(socket)];
        listeners.extend(certificates.map(|certificates| Listener::Https(tls_socket, certificates)));
        let (table, shutdown, ended) = (
            Arc::new(Table::new()),
            CancellationToken::new(),
            CancellationToken::new(),
        );
        let tasks = Tasks::new();
        let running = router::run(settings, table.clone(), listeners, shutdown.clone());
        let done = ended.clone();
        tasks.spawn("router", async move {
            running.await.unwrap();
            done.cancel();
        });
        Self {
            address,
            tls,
            table,
            shutdown,
            ended,
            lines: Mutex::new(lines),
            tasks,
        }
    }

    pub fn apply(&self, update: v1::RouteUpdate) {
        self.table.apply(update);
    }

    /// Routes `host` to `apps`, whose instances are `app-0`, `app-1`…
    pub fn route(&self, host: &str, path: &str, apps: &[&App]) {
        self.route_to(
            host,
            path,
            apps.iter().enumerate().map(|(i, app)| app.backend(i)).collect(),
        );
    }

    pub fn route_to(&self, host: &str, path: &str, backends: Vec<v1::Backend>) {
        let key = Some(v1::RouteKey {
            host: host.into(),
            path: path.into(),
        });
        let upserts = vec![v1::Route {
            key,
            route_guid: "route".into(),
            backends,
        }];
        self.apply(v1::RouteUpdate {
            upserts,
            ..Default::default()
        });
    }

    pub async fn get(&self, uri: &str) -> Reply {
        self.send(request(uri)).await
    }

    /// Sends over a connection of its own.
    pub async fn send<B>(&self, request: Request<B>) -> Reply
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Reply::of(self.open(request).await).await
    }

    /// The response, with its body still to be read.
    pub async fn open<B>(&self, mut request: Request<B>) -> Response<Incoming>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let host = request.uri().authority().unwrap().to_string();
        request
            .headers_mut()
            .entry("host")
            .or_insert(host.parse().unwrap());
        *request.uri_mut() = request.uri().path_and_query().unwrap().clone().into();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        self.tasks.spawn("client", async move {
            let _ = connection.with_upgrades().await;
        });
        let answer = tokio::time::timeout(SOON, sender.send_request(request)).await;
        answer.expect("an answer in time").unwrap()
    }

    /// Everything the router says to `bytes`, until it closes or, once it began, is silent for `quiet`.
    pub async fn raw(&self, bytes: &[u8], quiet: Duration) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let first = read_until(&mut stream, SOON, |_| true).await;
        first + &read_until(&mut stream, quiet, |_| false).await
    }

    /// The next access-log line.
    pub async fn line(&self) -> v1::Envelope {
        let mut lines = self.lines.lock().await;
        tokio::time::timeout(SOON, lines.recv())
            .await
            .expect("a line in time")
            .unwrap()
    }

    pub async fn has_no_line(&self) -> bool {
        self.lines.lock().await.try_recv().is_err()
    }

    pub async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < SOON, "{what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Reads until `done` holds for the text so far, the other side closes, or nothing comes for `quiet`.
pub async fn read_until(stream: &mut TcpStream, quiet: Duration, done: impl Fn(&str) -> bool) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(Ok(read @ 1..)) = tokio::time::timeout(quiet, stream.read(&mut buffer)).await {
        all.extend_from_slice(&buffer[..read]);
        if done(&String::from_utf8_lossy(&all)) {
            break;
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

pub fn request(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).body(Full::default()).unwrap()
}

pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
    pub trailers: Option<HeaderMap>,
}

impl Reply {
    pub async fn of(response: Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let collected = tokio::time::timeout(SOON, body.collect())
            .await
            .expect("a body in time")
            .unwrap();
        let trailers = collected.trailers().cloned();
        let body = String::from_utf8(collected.to_bytes().to_vec()).unwrap();
        Self {
            status: parts.status,
            headers: parts.headers,
            body,
            trailers,
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// An app: a server on a port of its own.
pub struct App {
    pub address: SocketAddr,
    pub protocol: &'static str,
    hits: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    _tasks: Tasks,
}

impl App {
    /// An app that answers HTTP/1.1 and HTTP/2 with prior knowledge.
    pub async fn http<F, A>(handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let hits = Arc::new(AtomicUsize::new(0));
        let seen = hits.clone();
        Self::new(hits, move |stream, _| {
            let (handler, seen) = (handler.clone(), seen.clone());
            async move {
                let service = service_fn(move |request| {
                    seen.fetch_add(1, Ordering::SeqCst);
                    let answer = handler(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder
                    .serve_connection_with_upgrades(TokioIo::new(stream), service)
                    .await;
            }
        })
        .await
    }

    /// An app that answers every request with `text`.
    pub async fn saying(text: &'static str) -> Self {
        Self::http(move |_| async move { answer(text) }).await
    }

    /// An app made of bare connections; the handler gets their number, from 0.
    pub async fn bare<F, A>(handler: F) -> Self
    where
        F: Fn(TcpStream, usize) -> A + Clone + Send + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        Self::new(Arc::default(), handler).await
    }

    async fn new<F, A>(hits: Arc<AtomicUsize>, handler: F) -> Self
    where
        F: Fn(TcpStream, usize) -> A + Clone + Send + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tasks, connections) = (Tasks::new(), Arc::new(AtomicUsize::new(0)));
        let (spawner, count) = (tasks.clone(), connections.clone());
        let token = tasks.token();
        tasks.spawn_graceful("app", async move {
            while let Some(Ok((stream, _))) = token.run_until_cancelled(listener.accept()).await {
                let number = count.fetch_add(1, Ordering::SeqCst);
                spawner.spawn("app connection", handler(stream, number));
            }
        });
        Self {
            address,
            protocol: "http1",
            hits,
            connections,
            _tasks: tasks,
        }
    }

    /// Requests seen so far.
    pub fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn backend(&self, index: usize) -> v1::Backend {
        v1::Backend {
            protocol: self.protocol.into(),
            ..backend(self.address, index)
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self._tasks.token().cancel();
    }
}

pub fn backend(address: SocketAddr, index: usize) -> v1::Backend {
    v1::Backend {
        address: address.to_string(),
        protocol: "http1".into(),
        app_guid: "app".into(),
        process_guid: "process".into(),
        instance_guid: format!("app-{index}"),
        index: u32::try_from(index).unwrap(),
    }
}

/// An address nobody listens on.
pub fn dead() -> SocketAddr {
    bind().local_addr().unwrap()
}

pub fn answer(text: impl Into<Bytes>) -> Answer {
    Response::new(Full::new(text.into()).map_err(|never| match never {}).boxed())
}

/// The request head as text, for apps that tell what they got.
pub fn head_of<B>(request: &Request<B>) -> String {
    let mut text = format!("{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        text += &format!("{name}: {}\n", value.to_str().unwrap());
    }
    text
}
