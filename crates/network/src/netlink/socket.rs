//! A netlink socket bound to the network namespace of the thread that opened it.
//!
//! The namespace stays that of the opening thread for the socket's life, whoever uses it later.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::{
    Attributes, Frame, HEADER, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR,
    NLMSG_DONE, NLMSG_ERROR, Request, align,
};

/// The kernel answers a request in the sending call, so a wait this long means it never will.
const PATIENCE: Duration = Duration::from_secs(10);
/// Dumps interrupted by a concurrent change are repeated this often.
const DUMP_ATTEMPTS: usize = 8;
/// Large enough for the kernel's biggest dump datagram.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// Room for a batch with every address of a /16 in it.
const SEND_BUFFER: usize = 16 * 1024 * 1024;

/// Which part of the kernel a socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Links, addresses, routes, neighbours.
    Route,
    /// nftables.
    Netfilter,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The kernel said no to one message of the request.
    #[error("the kernel refused: {explanation}")]
    Kernel {
        /// Which message of the request, from 0.
        position: usize,
        /// The kernel's own words, if it has any.
        explanation: String,
        /// The error number.
        #[source]
        errno: io::Error,
    },
    /// The socket itself failed.
    #[error("cannot talk to the kernel over netlink")]
    Io(#[from] io::Error),
    /// What came back made no sense, or kept changing.
    #[error("the kernel's netlink answer was unusable: {0}")]
    Garbled(&'static str),
}

impl Refusal {
    /// Whether the kernel's error number is `errno`.
    pub(crate) fn is(&self, errno: rustix::io::Errno) -> bool {
        matches!(self, Self::Kernel { errno: found, .. } if found.raw_os_error() == Some(errno.raw_os_error()))
    }
}

/// An open netlink socket.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open(family: Family) -> Result<Self, Refusal> {
        let protocol = match family {
            Family::Route => None,
            Family::Netfilter => Some(netlink::NETFILTER),
        };
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )
        .map_err(io::Error::from)?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0)).map_err(io::Error::from)?;
        for direction in [Timeout::Recv, Timeout::Send] {
            sockopt::set_socket_timeout(&fd, direction, Some(PATIENCE)).map_err(io::Error::from)?;
        }
        // Without the privilege to exceed the system's limit the default stays, which fits all but huge batches.
        let _ = sockopt::set_socket_send_buffer_size_force(&fd, SEND_BUFFER);
        let _ = sockopt::set_socket_recv_buffer_size_force(&fd, SEND_BUFFER);
        sys::netns::explain_netlink_errors(fd.as_fd())?;
        Ok(Self {
            fd,
            sequence: 0,
            buffer: vec![0; RECEIVE_BUFFER],
        })
    }

    /// Sends `requests` in one go, waits until each is answered, and returns the first refusal.
    pub(crate) fn execute(&mut self, requests: &[Request]) -> Result<(), Refusal> {
        self.execute_framed(None, requests, None)
    }

    /// As [`Self::execute`], between a begin and an end message that are not answered (nftables transactions).
    pub(crate) fn execute_framed(
        &mut self,
        begin: Option<&Request>,
        requests: &[Request],
        end: Option<&Request>,
    ) -> Result<(), Refusal> {
        if requests.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let start = self.sequence.wrapping_add(1);
        if let Some(begin) = begin {
            bytes.extend(begin.finish(self.next(), 0));
        }
        let first = self.sequence.wrapping_add(1);
        for request in requests {
            bytes.extend(request.finish(self.next(), NLM_F_ACK));
        }
        let last = self.sequence;
        if let Some(end) = end {
            bytes.extend(end.finish(self.next(), 0));
        }
        self.send(&bytes)?;
        self.collect_acknowledgements(start, first, last)
    }

    /// Sends `request` as a dump and hands every message of the answer to `each`.
    pub(crate) fn dump(
        &mut self,
        request: &Request,
        mut each: impl FnMut(&Frame<'_>),
    ) -> Result<(), Refusal> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut found: Vec<(u16, Vec<u8>)> = Vec::new();
            if self.dump_once(request, &mut found)? == Dump::Consistent {
                for (kind, payload) in &found {
                    each(&Frame {
                        kind: *kind,
                        flags: 0,
                        sequence: 0,
                        payload,
                    });
                }
                return Ok(());
            }
        }
        Err(Refusal::Garbled("the table kept changing while it was read"))
    }

    /// Sends `request` and hands its single answer to `read`; a refusal of the kernel is an error.
    pub(crate) fn query<T>(
        &mut self,
        request: &Request,
        read: impl Fn(&Frame<'_>) -> T,
    ) -> Result<T, Refusal> {
        let sequence = self.next();
        let bytes = request.finish(sequence, 0);
        self.send(&bytes)?;
        let mut answer = None;
        while answer.is_none() {
            answer = self.receive(|frame| {
                if frame.sequence != sequence {
                    return Ok(None);
                }
                match frame.kind {
                    NLMSG_ERROR => refusal(frame, 0).map_or(Ok(None), Err),
                    _ => Ok(Some(read(frame))),
                }
            })?;
        }
        answer.ok_or(Refusal::Garbled("no answer"))
    }

    fn dump_once(&mut self, request: &Request, found: &mut Vec<(u16, Vec<u8>)>) -> Result<Dump, Refusal> {
        let sequence = self.next();
        let bytes = request.finish(sequence, NLM_F_DUMP);
        self.send(&bytes)?;
        let mut outcome = Dump::Consistent;
        let mut done = None;
        while done.is_none() {
            done = self.receive(|frame| {
                if frame.sequence != sequence {
                    return Ok(None);
                }
                if frame.flags & NLM_F_DUMP_INTR != 0 {
                    outcome = Dump::Interrupted;
                }
                match frame.kind {
                    NLMSG_DONE => return Ok(Some(())),
                    NLMSG_ERROR => return refusal(frame, 0).map_or(Ok(Some(())), Err),
                    kind => found.push((kind, frame.payload.to_vec())),
                }
                Ok(None)
            })?;
        }
        Ok(outcome)
    }

    /// Waits for the answer to message `last`; `start..first` are the unanswered begin messages.
    fn collect_acknowledgements(&mut self, start: u32, first: u32, last: u32) -> Result<(), Refusal> {
        let window = last.wrapping_sub(start);
        let mut trouble: Option<Refusal> = None;
        let mut done = None;
        while done.is_none() {
            done =
                self.receive(|frame| {
                    let offset = frame.sequence.wrapping_sub(start);
                    if frame.kind != NLMSG_ERROR || offset > window {
                        return Ok(None);
                    }
                    let position = usize::try_from(frame.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                    if let Some(refusal) = refusal(frame, position) {
                        trouble.get_or_insert(refusal);
                    }
                    // A refused begin message refuses the whole transaction: nothing else will be answered.
                    Ok((frame.sequence == last
                        || frame.sequence.wrapping_sub(start) < first.wrapping_sub(start))
                    .then_some(()))
                })?;
        }
        trouble.map_or(Ok(()), Err)
    }

    /// Receives one datagram and offers its messages to `take` until it returns something.
    fn receive<T>(
        &mut self,
        mut take: impl FnMut(&Frame<'_>) -> Result<Option<T>, Refusal>,
    ) -> Result<Option<T>, Refusal> {
        let (_, length) =
            retry(|| rustix::net::recv(&self.fd, self.buffer.as_mut_slice(), RecvFlags::TRUNC))?;
        let mut rest = self
            .buffer
            .get(..length)
            .ok_or(Refusal::Garbled("a datagram was longer than the buffer"))?;
        while let Some((frame, next)) = Frame::split(rest) {
            if let Some(value) = take(&frame)? {
                return Ok(Some(value));
            }
            rest = next;
        }
        Ok(None)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let sent = retry(|| rustix::net::send(&self.fd, bytes, SendFlags::empty()))?;
        if sent != bytes.len() {
            return Err(Refusal::Garbled("a request was sent in part"));
        }
        Ok(())
    }

    fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dump {
    Consistent,
    Interrupted,
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> Result<T, Refusal> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(|errno| Refusal::Io(errno.into())),
        }
    }
}

/// The refusal in an error message; `None` when it is an acknowledgement.
fn refusal(frame: &Frame<'_>, position: usize) -> Option<Refusal> {
    const NLMSGERR_ATTR_MSG: u16 = 1;
    let Some(code) = frame
        .payload
        .get(..4)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_ne_bytes)
    else {
        return Some(Refusal::Garbled("a short error message"));
    };
    if code == 0 {
        return None;
    }
    let errno = io::Error::from_raw_os_error(-code);
    let quoted = match frame.flags & NLM_F_CAPPED {
        0 => frame
            .payload
            .get(4..8)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(HEADER, |bytes| {
                usize::try_from(u32::from_ne_bytes(bytes)).unwrap_or(HEADER)
            }),
        _ => HEADER,
    };
    let words = (frame.flags & NLM_F_ACK_TLVS != 0)
        .then(|| Attributes(frame.payload.get(4 + align(quoted)..).unwrap_or(&[])).text(NLMSGERR_ATTR_MSG))
        .flatten();
    let explanation = words.unwrap_or_else(|| "no reason given".to_owned());
    Some(Refusal::Kernel {
        position,
        explanation,
        errno,
    })
}
