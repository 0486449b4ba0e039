//! Connections to backends.
//!
//! HTTP/1.1 connections carry one request at a time and rest in a small stack per instance, the last used on top, so
//! that the surplus of a burst grows old and is closed. HTTP/2 connections are shared. Every connection is driven by a
//! task of its own; the task ends when the connection's [`Alive`] is dropped, so giving up a lease closes the
//! connection whatever state it was in.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base::Tasks;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::body::RequestBody;
use crate::instance::{Instance, Protocol, Slot};
use crate::settings::{Limits, Timeouts};

/// Response headers above this are refused; also bounds what one slow client makes us hold.
const RESPONSE_BUFFER: usize = 128 * 1024;
/// Streams on one HTTP/2 connection before a second one is opened.
const STREAMS: usize = 100;
/// How long a connection may take to get ready for its next request after a response ended.
const SETTLE: Duration = Duration::from_secs(1);

/// Opens and keeps connections; one per router.
pub(crate) struct Dialer {
    pub(crate) tasks: Tasks,
    pub(crate) timeouts: Timeouts,
    pub(crate) limits: Limits,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("no answer in {0:?}")]
    Timeout(Duration),
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("HTTP handshake failed")]
    Handshake(#[source] hyper::Error),
}

/// Resting connections of one instance.
#[derive(Default)]
pub(crate) struct Connections(Mutex<Resting>);

#[derive(Default)]
struct Resting {
    http1: Vec<Http1>,
    http2: Vec<Http2>,
}

/// Held by whoever needs the connection; its task ends with the last holder.
type Alive = oneshot::Sender<Infallible>;

struct Http1 {
    sender: http1::SendRequest<RequestBody>,
    used: Instant,
    _alive: Alive,
}

#[derive(Clone)]
struct Http2 {
    sender: http2::SendRequest<RequestBody>,
    used: Instant,
    /// One reference rests in the pool, one is held by each stream.
    streams: Arc<Alive>,
}

enum Connection {
    Http1(Http1),
    Http2(Http2),
}

/// A connection in use by one request.
pub(crate) struct Lease {
    connection: Connection,
    slot: Slot,
    /// It carried a request before, so the backend may have closed it in the meantime.
    pub(crate) reused: bool,
    /// It is closed after this request.
    last: bool,
}

impl Connections {
    fn take(&self, protocol: Protocol, idle: Duration) -> Option<Connection> {
        let mut resting = self.0.lock().expect("no holder of this lock panics");
        match protocol {
            Protocol::Http1 => {
                while let Some(top) = resting.http1.pop() {
                    if top.sender.is_ready() && top.used.elapsed() < idle {
                        return Some(Connection::Http1(top));
                    }
                }
                None
            }
            Protocol::Http2 => {
                resting.http2.retain(|shared| !shared.sender.is_closed());
                let free = resting
                    .http2
                    .iter_mut()
                    .find(|shared| Arc::strong_count(&shared.streams) <= STREAMS)?;
                free.used = Instant::now();
                Some(Connection::Http2(free.clone()))
            }
        }
    }

    fn rest(&self, mut connection: Http1, most: usize) {
        let mut resting = self.0.lock().expect("no holder of this lock panics");
        if resting.http1.len() < most {
            connection.used = Instant::now();
            resting.http1.push(connection);
        }
    }

    fn share(&self, connection: Http2) {
        self.0
            .lock()
            .expect("no holder of this lock panics")
            .http2
            .push(connection);
    }

    /// Closes what was not used for `idle`.
    pub(crate) fn close_idle(&self, idle: Duration) {
        let mut resting = self.0.lock().expect("no holder of this lock panics");
        resting
            .http1
            .retain(|one| !one.sender.is_closed() && one.used.elapsed() < idle);
        resting.http2.retain(|one| {
            !one.sender.is_closed() && (Arc::strong_count(&one.streams) > 1 || one.used.elapsed() < idle)
        });
    }
}

impl Dialer {
    /// A connection to the slot's instance: a resting one, or else a new one.
    pub(crate) async fn lease(&self, slot: Slot, protocol: Protocol) -> Result<Lease, DialError> {
        match slot
            .instance()
            .connections
            .take(protocol, self.timeouts.backend_idle)
        {
            Some(connection) => Ok(Lease {
                connection,
                slot,
                reused: true,
                last: false,
            }),
            None => self.lease_new(slot, protocol).await,
        }
    }

    /// A new connection to the slot's instance.
    pub(crate) async fn lease_new(&self, slot: Slot, protocol: Protocol) -> Result<Lease, DialError> {
        let connection = tokio::time::timeout(self.timeouts.dial, self.dial(slot.instance(), protocol))
            .await
            .map_err(|_elapsed| DialError::Timeout(self.timeouts.dial))??;
        Ok(Lease {
            connection,
            slot,
            reused: false,
            last: false,
        })
    }

    async fn dial(&self, instance: &Instance, protocol: Protocol) -> Result<Connection, DialError> {
        let stream = TcpStream::connect(instance.address)
            .await
            .map_err(DialError::Connect)?;
        stream.set_nodelay(true).map_err(DialError::Connect)?;
        let io = TokioIo::new(stream);
        let (alive, gone) = oneshot::channel();
        match protocol {
            Protocol::Http1 => {
                let (sender, driver) = http1::Builder::new()
                    .title_case_headers(true)
                    .max_buf_size(RESPONSE_BUFFER)
                    .handshake(io)
                    .await
                    .map_err(DialError::Handshake)?;
                self.drive(gone, driver.with_upgrades());
                Ok(Connection::Http1(Http1 {
                    sender,
                    used: Instant::now(),
                    _alive: alive,
                }))
            }
            Protocol::Http2 => {
                let (sender, driver) = http2::Builder::new(Spawn(self.tasks.clone()))
                    .timer(TokioTimer::new())
                    .max_header_list_size(u32::try_from(RESPONSE_BUFFER).unwrap_or(u32::MAX))
                    .handshake(io)
                    .await
                    .map_err(DialError::Handshake)?;
                self.drive(gone, driver);
                let shared = Http2 {
                    sender,
                    used: Instant::now(),
                    streams: Arc::new(alive),
                };
                instance.connections.share(shared.clone());
                Ok(Connection::Http2(shared))
            }
        }
    }

    fn drive<D>(&self, gone: oneshot::Receiver<Infallible>, driver: D)
    where
        D: Future<Output = hyper::Result<()>> + Send + 'static,
    {
        self.tasks.spawn("backend connection", async move {
            // Cancel-safe: either end means that nobody needs the connection any more.
            tokio::select! {
                _ = gone => {}
                _ = driver => {}
            }
        });
    }

    /// Takes back a connection whose response has ended.
    pub(crate) fn give_back(&self, lease: Lease) {
        let Connection::Http1(mut connection) = lease.connection else {
            return;
        };
        if lease.last {
            return;
        }
        let most = self.limits.idle_per_backend;
        if connection.sender.is_ready() {
            lease.slot.instance().connections.rest(connection, most);
        } else if !connection.sender.is_closed() {
            let instance = Arc::downgrade(lease.slot.instance());
            self.tasks.spawn("settling connection", async move {
                let ready = tokio::time::timeout(SETTLE, connection.sender.ready()).await;
                if let (Ok(Ok(())), Some(instance)) = (ready, instance.upgrade()) {
                    instance.connections.rest(connection, most);
                }
            });
        }
    }
}

impl Lease {
    pub(crate) fn protocol(&self) -> Protocol {
        match self.connection {
            Connection::Http1(_) => Protocol::Http1,
            Connection::Http2(_) => Protocol::Http2,
        }
    }

    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match &mut self.connection {
            Connection::Http1(one) => one.sender.try_send_request(request).await,
            Connection::Http2(one) => one.sender.try_send_request(request).await,
        }
    }

    pub(crate) fn instance(&self) -> &Instance {
        self.slot.instance()
    }

    /// Has the connection closed after this request.
    pub(crate) fn make_last(&mut self) {
        self.last = true;
    }

    /// Gives up the connection but not the place at the instance.
    pub(crate) fn into_slot(self) -> Slot {
        self.slot
    }
}

/// Runs hyper's own background futures in our task set.
#[derive(Clone)]
pub(crate) struct Spawn(pub(crate) Tasks);

impl<F> hyper::rt::Executor<F> for Spawn
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn_graceful("http2", future);
    }
}
