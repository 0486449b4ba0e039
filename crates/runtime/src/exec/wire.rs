//! What a daemon and the runner of one more program say to each other over a pair of stream sockets.
//!
//! The daemon sends the command, with the program's descriptors unless it gets a terminal; the runner answers once, and
//! sends the terminal with its answer. Then the daemon may send orders. When its end closes, the program is killed.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, send, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::oci::ConsoleSize;

/// A program's arguments and environment are at most a few megabytes (execve(2)).
const LONGEST: usize = 16 << 20;
const CHUNK: usize = 32 << 10;
const MOST_FDS: usize = 3;

/// What to run.
#[derive(Serialize, Deserialize)]
pub(crate) struct Command {
    pub argv: Vec<String>,
    /// Added to the container's.
    pub env: Vec<String>,
    /// Empty: the container's.
    pub cwd: String,
    /// Empty: the container's.
    pub user: String,
    /// Absent: the descriptors come along.
    pub terminal: Option<ConsoleSize>,
}

/// From the runner.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The program's own code runs; its terminal comes along if it was to get one.
    Started,
    /// It could not be run.
    Failed(String),
}

/// From the daemon, once the program runs.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Send the program a signal.
    Signal(i32),
}

/// Sends a message with descriptors.
pub(crate) fn tell(to: BorrowedFd<'_>, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut sent = sendmsg(to, &[IoSlice::new(&line)], &mut control, SendFlags::NOSIGNAL)?;
    while let Some(rest) = line.get(sent..).filter(|rest| !rest.is_empty()) {
        match send(to, rest, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            more => sent += more?,
        }
    }
    Ok(())
}

/// Messages as they come in.
#[derive(Default)]
pub(crate) struct Inbox {
    unparsed: Vec<u8>,
    /// Descriptors that came with messages and were not taken yet.
    pub fds: Vec<OwnedFd>,
}

impl Inbox {
    /// The next message; waits as long as the socket does. `None` when the other side is gone.
    pub fn next<T: DeserializeOwned>(&mut self, from: BorrowedFd<'_>) -> io::Result<Option<T>> {
        loop {
            if let Some(message) = self.parse()? {
                return Ok(Some(message));
            }
            if self.unparsed.len() > LONGEST {
                return Err(io::Error::other("a message is too long"));
            }
            if self.receive(from)? == 0 {
                return Ok(None);
            }
        }
    }

    fn parse<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some(end) = self.unparsed.iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let rest = self.unparsed.split_off(end + 1);
        let line = std::mem::replace(&mut self.unparsed, rest);
        Ok(Some(serde_json::from_slice(&line)?))
    }

    fn receive(&mut self, from: BorrowedFd<'_>) -> io::Result<usize> {
        let mut chunk = vec![0; CHUNK];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        loop {
            let mut parts = [IoSliceMut::new(&mut chunk)];
            match recvmsg(from, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(0),
                received => {
                    let count = received?.bytes;
                    for message in control.drain() {
                        if let RecvAncillaryMessage::ScmRights(fds) = message {
                            self.fds.extend(fds);
                        }
                    }
                    self.unparsed
                        .extend_from_slice(chunk.get(..count).unwrap_or_default());
                    return Ok(count);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn long_messages_and_descriptors_arrive_in_order() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let command = Command {
            argv: vec!["x".repeat(1 << 20)],
            env: Vec::new(),
            cwd: String::new(),
            user: String::new(),
            terminal: None,
        };
        let sender = std::thread::spawn(move || {
            let fds = [ours.as_fd(), ours.as_fd(), ours.as_fd()];
            tell(ours.as_fd(), &command, &fds).expect("sent");
            tell(ours.as_fd(), &Order::Signal(15), &[]).expect("sent");
        });
        let mut inbox = Inbox::default();
        let got: Command = inbox.next(theirs.as_fd()).expect("readable").expect("a message");
        assert_eq!((got.argv[0].len(), inbox.fds.len()), (1 << 20, 3));
        let order = inbox.next(theirs.as_fd()).expect("readable");
        assert_eq!(order, Some(Order::Signal(15)));
        sender.join().expect("no panic");
        inbox.fds.clear();
        assert_eq!(inbox.next::<Order>(theirs.as_fd()).expect("readable"), None);
    }
}
