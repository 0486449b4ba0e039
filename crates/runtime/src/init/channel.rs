//! What shim and pid 1 say to each other over a pair of packet sockets.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

/// The longest message; longer texts are cut.
const LONGEST: usize = 16 << 10;
const LONGEST_TEXT: usize = 4 << 10;

/// From the shim to pid 1.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToInit {
    /// Id maps are written, cgroups joined.
    Mapped,
    /// Run the program.
    Start,
}

/// From pid 1 to the shim.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FromInit {
    /// All is made; the program can be started.
    Ready,
    /// It could not be made, or the program could not be run. Pid 1 ends.
    Failed(String),
    /// The program runs; its pidfd comes with this.
    Started,
    /// The program ended.
    Exited {
        /// Its status, if it returned one.
        status: Option<i32>,
        /// The signal it died of, if it did.
        signal: Option<i32>,
    },
}

/// A connected pair, close-on-exec.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends a message of pid 1, with a descriptor.
pub(crate) fn send(to: BorrowedFd<'_>, message: &FromInit, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let bytes = match message {
        FromInit::Failed(text) if text.len() > LONGEST_TEXT => {
            let cut = text
                .char_indices()
                .map(|(at, _)| at)
                .take_while(|at| *at <= LONGEST_TEXT)
                .last();
            serde_json::to_vec(&FromInit::Failed(
                text.get(..cut.unwrap_or(0)).unwrap_or_default().to_owned(),
            ))
        }
        other => serde_json::to_vec(other),
    }?;
    let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    sendmsg(to, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Sends an order to pid 1.
pub(crate) fn order(to: BorrowedFd<'_>, order: &ToInit) -> io::Result<()> {
    rustix::net::send(to, &serde_json::to_vec(order)?, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The next order; `None` when the shim is gone.
pub(crate) fn receive_order(from: BorrowedFd<'_>) -> io::Result<Option<ToInit>> {
    match receive_bytes(from)? {
        Some((bytes, _)) => Ok(Some(serde_json::from_slice(&bytes)?)),
        None => Ok(None),
    }
}

/// The next report of pid 1 and the descriptor that came with it; `None` when it is gone.
pub(crate) fn receive_report(from: BorrowedFd<'_>) -> io::Result<Option<(FromInit, Option<OwnedFd>)>> {
    match receive_bytes(from)? {
        Some((bytes, fd)) => Ok(Some((serde_json::from_slice(&bytes)?, fd))),
        None => Ok(None),
    }
}

fn receive_bytes(from: BorrowedFd<'_>) -> io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
    let mut bytes = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(
            from,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            result => break result?,
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(received.bytes);
    let mut fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fd = fds.next().and_then(|mut fds| fds.next());
    Ok(Some((bytes, fd)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn messages_carry_descriptors_and_the_end_is_seen() {
        let (ours, theirs) = pair().expect("a pair");
        let message = FromInit::Failed("é".repeat(100_000));
        send(ours.as_fd(), &message, Some(ours.as_fd())).expect("sent");
        let (got, fd) = receive_report(theirs.as_fd())
            .expect("readable")
            .expect("a message");
        assert!(
            matches!(got, FromInit::Failed(text) if text.len() <= LONGEST_TEXT && text.len() > LONGEST_TEXT - 4)
        );
        assert!(fd.is_some());
        drop((ours, fd));
        assert!(receive_report(theirs.as_fd()).expect("readable").is_none());
    }
}
