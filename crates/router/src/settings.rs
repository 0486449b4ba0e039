//! What the caller decides: platform hosts, where access-log lines go, time-outs and limits. The defaults are those of
//! the reference router.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, SystemClock};
use wire::v1::Envelope;

/// Takes one access-log line. Called on the data plane, so it must neither block nor wait: put the line into a bounded
/// channel with `try_send` and count what does not fit.
pub type LogSink = Arc<dyn Fn(Envelope) + Send + Sync>;

/// How a router behaves. [`Settings::new`] gives the defaults.
#[derive(Clone)]
pub struct Settings {
    /// Which router this is; the `instance_id` of its log lines.
    pub index: u32,
    /// Hosts of the platform itself (`api.…`, `login.…`), lower case and without a port. They win over the route table,
    /// get no app headers and leave no app log line.
    pub system_hosts: HashMap<String, SystemBackend>,
    /// Where access-log lines go.
    pub log: LogSink,
    /// Wall-clock time for log lines and `X-Request-Start`.
    pub clock: Arc<dyn Clock>,
    /// How long requests in flight may go on after a shutdown was asked for.
    pub drain: Duration,
    /// Time-outs per phase.
    pub timeouts: Timeouts,
    /// Bounds.
    pub limits: Limits,
}

/// A part of the platform that listens on a plain local address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemBackend {
    /// Where it listens; HTTP/1.1.
    pub address: SocketAddr,
}

/// Time-outs per phase of a request.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// To connect to a backend.
    pub dial: Duration,
    /// From the request to the response headers of the backend. Upgrades have none.
    pub request: Duration,
    /// From the first byte of a request (or the start of a connection) to the end of its headers.
    pub header: Duration,
    /// Between two requests of one client connection.
    pub client_idle: Duration,
    /// How long an unused connection to a backend is kept.
    pub backend_idle: Duration,
    /// For the TLS handshake of a client.
    pub tls_handshake: Duration,
    /// How long a body waits for the backend's `100 Continue` before it is sent regardless.
    pub expect_continue: Duration,
}

/// Bounds on memory and connections.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Requests in flight to one backend; above it the next backend is asked, and 503 when there is none.
    pub connections_per_backend: usize,
    /// Unused connections kept for one backend.
    pub idle_per_backend: usize,
    /// Size of request line and headers in bytes; at or above it 431.
    pub header_bytes: usize,
    /// Client connections open at once; above it new ones wait in the kernel's queue.
    pub client_connections: usize,
}

impl Settings {
    /// The defaults, with log lines going to `log`.
    pub fn new(log: LogSink) -> Self {
        Self {
            index: 0,
            system_hosts: HashMap::new(),
            log,
            clock: Arc::new(SystemClock),
            drain: Duration::from_secs(900),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            dial: Duration::from_secs(5),
            request: Duration::from_secs(900),
            header: Duration::from_secs(60),
            client_idle: Duration::from_secs(900),
            backend_idle: Duration::from_secs(90),
            tls_handshake: Duration::from_secs(10),
            expect_continue: Duration::from_secs(1),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_per_backend: 500,
            idle_per_backend: 100,
            header_bytes: 1 << 20,
            client_connections: 50_000,
        }
    }
}
