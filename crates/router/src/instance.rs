//! One backend: an address, who answers there, what is in flight to it, and whether it failed lately.
//!
//! An instance that several routes name is one value, so its connections, its limit and its failures are shared. It
//! lives as long as a route names it or a request is on its way: removal from the table closes idle connections and
//! lets requests in flight finish.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use wire::v1;

use crate::backend::Connections;

/// How long a failed backend is passed over while another one serves.
const INELIGIBLE: Duration = Duration::from_secs(30);

/// What a backend speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    /// HTTP/2 with prior knowledge, no TLS.
    Http2,
}

pub(crate) struct Instance {
    pub(crate) address: SocketAddr,
    pub(crate) protocol: Protocol,
    /// `None` for a part of the platform.
    pub(crate) identity: Option<Identity>,
    pub(crate) connections: Connections,
    in_flight: AtomicUsize,
    /// Milliseconds after `born`; 0 while eligible.
    ineligible_until: AtomicU64,
    born: Instant,
}

/// Who answers, as header values: they are slices of one shared buffer, so that using them costs no copy.
pub(crate) struct Identity {
    pub(crate) app_guid: HeaderValue,
    pub(crate) process_guid: HeaderValue,
    pub(crate) instance_guid: HeaderValue,
    pub(crate) index_text: HeaderValue,
    pub(crate) index: u32,
}

impl Identity {
    fn new(backend: &v1::Backend) -> Option<Self> {
        let index_text = backend.index.to_string();
        let texts = [
            &backend.app_guid,
            &backend.process_guid,
            &backend.instance_guid,
            &index_text,
        ];
        let all = Bytes::from(texts.map(String::as_str).concat());
        let mut from = 0;
        let mut next = |text: &String| {
            let slice = all.slice(from..from + text.len());
            from += text.len();
            HeaderValue::from_maybe_shared(slice).ok()
        };
        Some(Self {
            app_guid: next(texts[0])?,
            process_guid: next(texts[1])?,
            instance_guid: next(texts[2])?,
            index_text: next(texts[3])?,
            index: backend.index,
        })
    }

    fn is(&self, backend: &v1::Backend) -> bool {
        self.app_guid == backend.app_guid.as_str()
            && self.process_guid == backend.process_guid.as_str()
            && self.instance_guid == backend.instance_guid.as_str()
            && self.index == backend.index
    }
}

impl Instance {
    /// `None` when the address or a guid of `backend` is not usable.
    pub(crate) fn of_app(backend: &v1::Backend) -> Option<Self> {
        let identity = Identity::new(backend)?;
        Some(Self::new(
            backend.address.parse().ok()?,
            protocol(backend),
            Some(identity),
        ))
    }

    pub(crate) fn of_platform(address: SocketAddr) -> Self {
        Self::new(address, Protocol::Http1, None)
    }

    fn new(address: SocketAddr, protocol: Protocol, identity: Option<Identity>) -> Self {
        Self {
            address,
            protocol,
            identity,
            connections: Connections::default(),
            in_flight: AtomicUsize::new(0),
            ineligible_until: AtomicU64::new(0),
            born: Instant::now(),
        }
    }

    /// Whether `backend` describes this very instance.
    pub(crate) fn is(&self, backend: &v1::Backend) -> bool {
        self.protocol == protocol(backend)
            && self
                .identity
                .as_ref()
                .is_some_and(|identity| identity.is(backend))
            && backend.address.parse() == Ok(self.address)
    }

    pub(crate) fn guid(&self) -> &[u8] {
        self.identity
            .as_ref()
            .map_or(b"", |identity| identity.instance_guid.as_bytes())
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// A place for one request, or `None` when `limit` are taken.
    pub(crate) fn acquire(self: &Arc<Self>, limit: usize) -> Option<Slot> {
        if self.in_flight.fetch_add(1, Ordering::AcqRel) >= limit {
            self.in_flight.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Slot(self.clone()))
    }

    pub(crate) fn eligible(&self) -> bool {
        // The clock is only read for an instance that failed.
        match self.ineligible_until.load(Ordering::Relaxed) {
            0 => true,
            until => self.age_ms() >= until,
        }
    }

    pub(crate) fn mark_failed(&self) {
        let until = self
            .age_ms()
            .saturating_add(u64::try_from(INELIGIBLE.as_millis()).unwrap_or(u64::MAX));
        self.ineligible_until.store(until, Ordering::Relaxed);
    }

    pub(crate) fn clear_mark(&self) {
        self.ineligible_until.store(0, Ordering::Relaxed);
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn protocol(backend: &v1::Backend) -> Protocol {
    if backend.protocol.eq_ignore_ascii_case("http2") {
        Protocol::Http2
    } else {
        Protocol::Http1
    }
}

/// One request on its way to an instance. Given back when dropped.
pub(crate) struct Slot(Arc<Instance>);

impl Slot {
    pub(crate) fn instance(&self) -> &Arc<Instance> {
        &self.0
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
