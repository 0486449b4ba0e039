//! Bodies on their way through the router: streamed, counted, never collected.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use crate::access_log::Record;
use crate::backend::{Dialer, Lease};
use crate::client::Busy;

/// What the rest of the router may know of a request body while a connection sends it.
#[derive(Default)]
pub(crate) struct Upload {
    bytes: AtomicU64,
    /// 0, [`LEFT`] or [`MALFORMED`].
    broken: AtomicU8,
    continued: AtomicBool,
    waker: AtomicWaker,
}

impl Upload {
    /// Bytes the client sent so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the body broke off at the client's side, so that the backend is not to blame.
    pub(crate) fn broken(&self) -> Option<Broken> {
        match self.broken.load(Ordering::Acquire) {
            0 => None,
            LEFT => Some(Broken::Left),
            _ => Some(Broken::Malformed),
        }
    }

    fn breaks(&self, error: &hyper::Error) {
        let io = error
            .source()
            .and_then(|cause| cause.downcast_ref::<io::Error>())
            .map(io::Error::kind);
        let malformed = matches!(io, Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData));
        self.broken
            .store(if malformed { MALFORMED } else { LEFT }, Ordering::Release);
    }

    /// The backend wants the body (`100 Continue`).
    pub(crate) fn proceed(&self) {
        self.continued.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// How a client spoilt its own request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It closed the connection or the stream.
    Left,
    /// Its framing makes no sense.
    Malformed,
}

const LEFT: u8 = 1;
const MALFORMED: u8 = 2;

pub(crate) enum RequestBody {
    Empty,
    Stream {
        incoming: Incoming,
        upload: Arc<Upload>,
        gate: Option<Gate>,
    },
}

/// Holds back the body of a request with `Expect: 100-continue`, at most for a while: the first read of the body is
/// what makes the client send it.
pub(crate) struct Gate {
    wait: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Gate {
    pub(crate) fn new(wait: Duration) -> Self {
        Self { wait, sleep: None }
    }

    fn poll(&mut self, upload: &Upload, cx: &mut Context<'_>) -> Poll<()> {
        upload.waker.register(cx.waker());
        if upload.continued.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        let wait = self.wait;
        self.sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)))
            .as_mut()
            .poll(cx)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self::Stream {
            incoming,
            upload,
            gate,
        } = self.get_mut()
        else {
            return Poll::Ready(None);
        };
        if let Some(closed) = gate {
            ready!(closed.poll(upload, cx));
            *gate = None;
        }
        let frame = ready!(Pin::new(incoming).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                upload.bytes.fetch_add(length as u64, Ordering::Relaxed);
            }
            Some(Err(error)) => upload.breaks(error),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream { incoming, .. } => incoming.size_hint(),
        }
    }
}

/// What a client gets. Keeps its connection busy, and with it everything that ends with the response: when the backend
/// is done its connection goes back to rest, and when the body is dropped the access log gets its line.
pub(crate) struct ResponseBody {
    content: Content,
    busy: Option<Busy>,
}

enum Content {
    Whole(Bytes),
    Stream(Box<Stream>),
}

struct Stream {
    incoming: Incoming,
    lease: Option<(Lease, Arc<Dialer>)>,
    record: Option<Record>,
}

impl Stream {
    /// The backend is done: its connection may rest.
    fn finish(&mut self) {
        if let Some((lease, dialer)) = self.lease.take() {
            dialer.give_back(lease);
        }
        if let Some(record) = &mut self.record {
            record.backend_finished();
        }
    }
}

impl ResponseBody {
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self {
            content: Content::Whole(bytes.into()),
            busy: None,
        }
    }

    /// Streams `incoming` from the connection of `lease`.
    pub(crate) fn stream(incoming: Incoming, lease: (Lease, Arc<Dialer>), record: Option<Record>) -> Self {
        let mut stream = Stream {
            incoming,
            lease: Some(lease),
            record,
        };
        if stream.incoming.is_end_stream() {
            stream.finish();
        }
        Self {
            content: Content::Stream(Box::new(stream)),
            busy: None,
        }
    }

    pub(crate) fn keeping(mut self, busy: Busy) -> Self {
        self.busy = Some(busy);
        self
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let stream = match &mut self.content {
            Content::Whole(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Content::Whole(bytes) => return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::Stream(stream) => stream,
        };
        let frame = ready!(Pin::new(&mut stream.incoming).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(record), Some(data)) = (&mut stream.record, frame.data_ref()) {
                    record.sent(data.len());
                }
                if stream.incoming.is_end_stream() {
                    stream.finish();
                }
            }
            Some(Err(_)) => stream.lease = None,
            None => stream.finish(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Stream(stream) => stream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Stream(stream) => stream.incoming.size_hint(),
        }
    }
}
