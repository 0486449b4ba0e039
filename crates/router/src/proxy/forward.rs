//! Sending a request to a backend, and to another one when that is safe.
//!
//! Safe is: when no connection could be had, when the connection gave the request back unsent, and when the connection
//! ended before any answer to a request that may be repeated (idempotent, without body). Never after an answer began or
//! the backend reset a connection it had just accepted. A connection that had rested proves nothing when it ends: the
//! same backend is asked again over a new one first.

use std::error::Error;
use std::io;
use std::time::Duration;

use http::Response;
use hyper::body::Incoming;
use tokio::time::Instant;
use tracing::debug;

use super::target::Target;
use super::{Outgoing, Proxy, Rejection, Reply};
use crate::access_log::Record;
use crate::backend::{DialError, Lease};
use crate::body::Broken;
use crate::instance::Slot;
use crate::table::Selection;

/// Why one backend did not answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no connection")]
    Dial(#[source] DialError),
    #[error("the connection closed before the request was sent")]
    Unsent(#[source] hyper::Error),
    #[error("the connection ended before a response")]
    Lost {
        repeatable: bool,
        #[source]
        cause: hyper::Error,
    },
    #[error("no response in {0:?}")]
    Timeout(Duration),
    #[error("the client broke off its request")]
    Client(Broken),
}

impl Proxy {
    pub(super) async fn forward(
        &self,
        outgoing: &mut Outgoing,
        target: &Target,
        record: &mut Option<Record>,
    ) -> Result<Reply, Rejection> {
        let timeout = self.settings.timeouts.request;
        let deadline = outgoing.upgrade.is_none().then(|| Instant::now() + timeout);
        let limit = self.settings.limits.connections_per_backend;
        let mut slot = target.pick(&outgoing.host, limit)?;
        let mut left = target.attempts();
        loop {
            let instance = slot.instance().clone();
            if let Some(record) = record {
                record.asks(&instance);
            }
            outgoing.address_to(&instance);
            let failure = match self.attempt(outgoing, slot, deadline).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            left -= 1;
            debug!(backend = %instance.address, left, error = %base::Report(&failure), "a backend failed");
            if failure.is_the_backends() {
                instance.mark_failed();
            }
            let again = if left > 0 && failure.repeatable() {
                self.again(target, &outgoing.host, outgoing.uri.path())
            } else {
                None
            };
            // A failed backend says more than the lack of another one.
            slot = again
                .and_then(|pool| pool.pick(target.selection(), limit).ok())
                .ok_or_else(|| Rejection::from(failure))?;
        }
    }

    /// One backend. A rested connection that turns out to be dead does not count.
    async fn attempt(
        &self,
        outgoing: &mut Outgoing,
        slot: Slot,
        deadline: Option<Instant>,
    ) -> Result<Reply, Failure> {
        let protocol = outgoing.protocol(slot.instance());
        let mut lease = self.dialer.lease(slot, protocol).await.map_err(Failure::Dial)?;
        loop {
            let failure = match self.send(outgoing, &mut lease, deadline).await {
                Ok(response) => return Ok(Reply { response, lease }),
                Err(failure) => failure,
            };
            let stale = match &failure {
                Failure::Unsent(_) => lease.reused,
                Failure::Lost { .. } => lease.reused && outgoing.replayable(),
                _ => false,
            };
            if !stale {
                return Err(failure);
            }
            lease = self
                .dialer
                .lease_new(lease.into_slot(), protocol)
                .await
                .map_err(Failure::Dial)?;
        }
    }

    async fn send(
        &self,
        outgoing: &mut Outgoing,
        lease: &mut Lease,
        deadline: Option<Instant>,
    ) -> Result<Response<Incoming>, Failure> {
        let sending = lease.send(outgoing.request(lease.protocol()));
        let sent = match deadline {
            None => sending.await,
            Some(deadline) => tokio::time::timeout_at(deadline, sending)
                .await
                .map_err(|_elapsed| Failure::Timeout(self.settings.timeouts.request))?,
        };
        let mut error = match sent {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        if let Some(request) = error.take_message() {
            outgoing.restore(request);
            return Err(Failure::Unsent(error.into_error()));
        }
        if let Some(broken) = outgoing.upload.as_ref().and_then(|upload| upload.broken()) {
            return Err(Failure::Client(broken));
        }
        let cause = error.into_error();
        let repeatable = outgoing.replayable() && io_kind(&cause) != Some(io::ErrorKind::ConnectionReset);
        Err(Failure::Lost { repeatable, cause })
    }
}

impl Target {
    fn selection(&self) -> &Selection {
        match self {
            Self::Route(_, selection) => selection,
            Self::Platform(_) => &Selection::Any,
        }
    }
}

impl Failure {
    fn repeatable(&self) -> bool {
        match self {
            Self::Dial(_) | Self::Unsent(_) => true,
            Self::Lost { repeatable, .. } => *repeatable,
            Self::Timeout(_) | Self::Client(_) => false,
        }
    }

    /// Whether another backend should be preferred for a while. A slow answer may be the request's own doing.
    fn is_the_backends(&self) -> bool {
        match self {
            Self::Dial(_) | Self::Unsent(_) | Self::Lost { .. } => true,
            Self::Timeout(_) | Self::Client(_) => false,
        }
    }
}

impl From<Failure> for Rejection {
    fn from(failure: Failure) -> Self {
        let detail = match &failure {
            Failure::Client(Broken::Left) => return Self::Cancelled,
            Failure::Client(Broken::Malformed) => return Self::Malformed("malformed request body"),
            Failure::Dial(DialError::Timeout(_)) => "dial: timeout".into(),
            Failure::Dial(DialError::Connect(cause)) => format!("dial: {}", cause.kind()),
            Failure::Dial(DialError::Handshake(_)) => "dial: handshake failed".into(),
            Failure::Timeout(_) => "request timeout".into(),
            Failure::Unsent(cause) | Failure::Lost { cause, .. } => match io_kind(cause) {
                Some(kind) => kind.to_string(),
                None if cause.is_parse() => "malformed response".into(),
                None => "EOF".into(),
            },
        };
        Self::EndpointFailure(detail)
    }
}

/// The kind of the I/O error at the root of an error, if that is what it was.
fn io_kind(error: &hyper::Error) -> Option<io::ErrorKind> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = error.source();
    }
    None
}
