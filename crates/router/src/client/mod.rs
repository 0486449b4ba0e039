//! One connection of a client: who is there, which HTTP it speaks, and when it has been silent for too long.

mod activity;
mod stream;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base::{CancellationToken, Tasks};
use bytes::Bytes;
use http::HeaderValue;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use crate::backend::Spawn;
use crate::proxy::Proxy;
use crate::settings::Settings;
pub(crate) use activity::{Activity, Busy};
use stream::{ClientStream, Transport};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Above the largest request head we accept, so that our own refusal is reached before hyper's.
const HEAD_SLACK: usize = 64 * 1024;
const STREAMS: u32 = 250;

/// Who is at the other end of a connection.
pub(crate) struct Client {
    /// Address and port as text, written once for all requests of the connection.
    pub(crate) remote: Box<str>,
    /// The address alone, as `X-Forwarded-For` takes it.
    pub(crate) ip: HeaderValue,
    pub(crate) scheme: Scheme,
    pub(crate) activity: Arc<Activity>,
    /// The connection counts until the last request or tunnel of it is gone.
    _permit: OwnedSemaphorePermit,
}

/// How the client reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// A connection as it was accepted.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) remote: SocketAddr,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// What connections share.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) settings: Arc<Settings>,
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) tasks: Tasks,
    pub(crate) shutdown: CancellationToken,
}

enum Version {
    Http1,
    Http2,
}

impl Client {
    fn new(
        remote: SocketAddr,
        scheme: Scheme,
        activity: Arc<Activity>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        // A socket for both families shows IPv4 peers as IPv6 ones.
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        let ip = HeaderValue::try_from(remote.ip().to_string()).expect("digits, letters, dots and colons");
        Self {
            remote: remote.to_string().into(),
            ip,
            scheme,
            activity,
            _permit: permit,
        }
    }
}

impl Server {
    /// Serves one connection until either side is done with it. After shutdown it lives until its requests in flight
    /// are answered.
    pub(crate) async fn serve(self, accepted: Accepted) {
        let (remote, permit) = (accepted.remote, accepted.permit);
        let scheme = if accepted.tls.is_some() {
            Scheme::Https
        } else {
            Scheme::Http
        };
        let greeted = tokio::select! {
            // Cancel-safe: nothing was asked on the connection yet, dropping it loses nothing.
            () = self.shutdown.cancelled() => return,
            greeted = self.greet(accepted.stream, accepted.tls) => greeted,
        };
        let Some((transport, prefix, version)) = greeted else {
            return;
        };
        let activity = Arc::new(Activity::new());
        let io = TokioIo::new(ClientStream::new(transport, prefix, activity.clone()));
        let client = Arc::new(Client::new(remote, scheme, activity.clone(), permit));
        let proxy = self.proxy.clone();
        let service = service_fn(move |request| {
            let (proxy, client) = (proxy.clone(), client.clone());
            async move { Ok::<_, Infallible>(proxy.serve(&client, request).await) }
        });
        match version {
            Version::Http1 => {
                let connection = self.http1().serve_connection(io, service).with_upgrades();
                self.drive(connection, activity).await;
            }
            Version::Http2 => {
                activity.without_heads();
                let connection = self.http2().serve_connection(io, service);
                self.drive(connection, activity).await;
            }
        }
    }

    /// Learns which HTTP the client speaks: by ALPN under TLS, else by the first bytes, which are given back.
    async fn greet(
        &self,
        mut stream: TcpStream,
        tls: Option<TlsAcceptor>,
    ) -> Option<(Transport, Bytes, Version)> {
        let Some(tls) = tls else {
            let first = tokio::time::timeout(self.settings.timeouts.header, first_bytes(&mut stream));
            let (prefix, version) = first.await.ok()??;
            return Some((Transport::Plain(stream), prefix, version));
        };
        let stream =
            match tokio::time::timeout(self.settings.timeouts.tls_handshake, tls.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    debug!(%error, "a TLS handshake failed");
                    return None;
                }
                Err(_elapsed) => return None,
            };
        let version = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Version::Http2,
            _ => Version::Http1,
        };
        Some((Transport::Tls(Box::new(stream)), Bytes::new(), version))
    }

    fn http1(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder
            .title_case_headers(true)
            .max_buf_size(self.settings.limits.header_bytes + HEAD_SLACK)
            // Our own watch knows an idle connection from a slow head; hyper's timer does not.
            .header_read_timeout(None);
        builder
    }

    fn http2(&self) -> http2::Builder<Spawn> {
        let head = u32::try_from(self.settings.limits.header_bytes + HEAD_SLACK).unwrap_or(u32::MAX);
        let mut builder = http2::Builder::new(Spawn(self.tasks.clone()));
        builder
            .timer(TokioTimer::new())
            .max_header_list_size(head)
            .max_concurrent_streams(STREAMS)
            .keep_alive_interval(Duration::from_secs(60));
        builder
    }

    async fn drive(&self, connection: impl Graceful, activity: Arc<Activity>) {
        let mut connection = std::pin::pin!(connection);
        let timeouts = &self.settings.timeouts;
        let silent = activity.silent(timeouts.header, timeouts.client_idle);
        let mut silent = std::pin::pin!(silent);
        let mut draining = false;
        loop {
            // Cancel-safe: all three are polled in place and none loses anything when another one wins.
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        debug!(%error, "a client connection ended");
                    }
                    return;
                }
                () = silent.as_mut() => return,
                () = self.shutdown.cancelled(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful();
                }
            }
        }
    }
}

/// Reads until the bytes are either the whole HTTP/2 preface or certainly none.
async fn first_bytes(stream: &mut TcpStream) -> Option<(Bytes, Version)> {
    let mut buffer = [0; PREFACE.len()];
    let mut filled = 0;
    loop {
        let read = stream
            .read(buffer.get_mut(filled..)?)
            .await
            .ok()
            .filter(|&read| read > 0)?;
        filled += read;
        let got = buffer.get(..filled)?;
        if !PREFACE.starts_with(got) {
            return Some((Bytes::copy_from_slice(got), Version::Http1));
        }
        if filled == PREFACE.len() {
            return Some((Bytes::copy_from_slice(got), Version::Http2));
        }
    }
}

/// The two kinds of connections, as far as driving them goes.
trait Graceful: Future<Output = hyper::Result<()>> {
    /// No new requests; ends when those in flight are answered.
    fn graceful(self: Pin<&mut Self>);
}

type Io = TokioIo<ClientStream>;

impl<S, B> Graceful for http1::UpgradeableConnection<Io, S>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn graceful(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<S, B> Graceful for http2::Connection<Io, S, Spawn>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    Spawn: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    fn graceful(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
