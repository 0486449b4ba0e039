//! The life of a router: sockets in, connections served, an orderly end.

use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use base::{CancellationToken, Tasks, chain};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::certificates::{CertificateError, Certificates};
use crate::client::{Accepted, Server};
use crate::proxy::Proxy;
use crate::settings::Settings;
use crate::table::Table;

/// How often idle backend connections are looked through.
const SWEEP: Duration = Duration::from_secs(30);
/// Pause after a failed accept: out of file descriptors is the usual cause and does not pass at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound socket and what is spoken on it.
pub enum Listener {
    /// Plain HTTP/1.1 and HTTP/2 with prior knowledge.
    Http(StdListener),
    /// The same under TLS, HTTP/2 by ALPN.
    Https(StdListener, Arc<Certificates>),
}

/// Why a router did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A listening socket cannot be used.
    #[error("cannot use the listening socket")]
    Socket(#[source] io::Error),
    /// TLS cannot be set up.
    #[error("cannot serve TLS")]
    Tls(#[source] CertificateError),
}

/// Serves until `shutdown`, then lets requests in flight finish within [`Settings::drain`]. Must run on a tokio runtime
/// with I/O and time; give the router one of its own, so that other parts' stalls do not add to its latency.
///
/// # Errors
/// Only at the start, when a socket or a certificate is unusable.
pub async fn run(
    settings: Settings,
    table: Arc<Table>,
    listeners: Vec<Listener>,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let listeners = listeners.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let settings = Arc::new(settings);
    // Connections learn of the end also when the future of this function is dropped.
    let shutdown = shutdown.child_token();
    let _ending = shutdown.clone().drop_guard();
    let (backends, front, accepting) = (Tasks::new(), Tasks::under(&shutdown), Tasks::under(&shutdown));
    let proxy = Arc::new(Proxy::new(&settings, table, &front, &backends));
    accepting.spawn("sweep", sweep(proxy.clone()));
    let permits = Arc::new(Semaphore::new(
        settings.limits.client_connections.min(Semaphore::MAX_PERMITS),
    ));
    for (listener, tls) in listeners {
        let server = Server {
            settings: settings.clone(),
            proxy: proxy.clone(),
            tasks: front.clone(),
            shutdown: shutdown.clone(),
        };
        accepting.spawn("accept", accept(listener, tls, server, permits.clone()));
    }
    shutdown.cancelled().await;
    info!("draining");
    accepting.shutdown(Duration::from_secs(1)).await;
    front.shutdown(settings.drain).await;
    backends.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

fn open(listener: Listener) -> Result<(TcpListener, Option<TlsAcceptor>), RunError> {
    let (socket, tls) = match listener {
        Listener::Http(socket) => (socket, None),
        Listener::Https(socket, certificates) => {
            let config = certificates.server_config().map_err(RunError::Tls)?;
            (socket, Some(TlsAcceptor::from(Arc::new(config))))
        }
    };
    socket.set_nonblocking(true).map_err(RunError::Socket)?;
    Ok((TcpListener::from_std(socket).map_err(RunError::Socket)?, tls))
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, server: Server, permits: Arc<Semaphore>) {
    loop {
        let permit = permits
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(error = chain(&error), "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if stream.set_nodelay(true).is_err() {
            // The client has gone already.
            continue;
        }
        let accepted = Accepted {
            stream,
            remote,
            tls: tls.clone(),
            permit,
        };
        server
            .tasks
            .spawn_graceful("connection", server.clone().serve(accepted));
    }
}

async fn sweep(proxy: Arc<Proxy>) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        // With 100,000 instances this takes milliseconds, which no request should wait for.
        let proxy = proxy.clone();
        let _ = tokio::task::spawn_blocking(move || proxy.sweep()).await;
    }
}
