//! How roles of one machine reach each other: gRPC over a Unix socket in the data directory, which only its owner may
//! enter.

use std::io;
use std::path::{Path, PathBuf};

use futures_util::Stream;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tonic::transport::{Channel, Endpoint};

/// A channel to the service behind `socket`. Connects on first use and again after the peer was away, so the peer
/// need not run yet.
pub fn connect(socket: &Path) -> Channel {
    let socket: PathBuf = socket.to_owned();
    Endpoint::from_static("http://slipway.invalid").connect_with_connector_lazy(tower::service_fn(
        move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        },
    ))
}

/// Listens on `socket` and gives its connections to `tonic::transport::Server::serve_with_incoming_shutdown`. A socket
/// file left by a process that died is replaced.
///
/// # Errors
/// When the directory is missing or not writable.
pub fn incoming(socket: &Path) -> io::Result<impl Stream<Item = io::Result<UnixStream>> + use<>> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    Ok(futures_util::stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    }))
}
