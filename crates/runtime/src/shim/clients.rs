//! Connections of daemons to this shim. Nothing a client does or leaves undone makes the loop wait.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use crate::protocol::{LONGEST_LINE, Reply, Request};

/// More connections than this are turned away.
const MOST: usize = 64;
/// A client that lets this much pile up unread is cut off.
const LONGEST_BACKLOG: usize = 64 << 10;

/// One connection.
pub(super) struct Client {
    id: u64,
    stream: UnixStream,
    unparsed: Vec<u8>,
    unsent: Vec<u8>,
    subscribed: bool,
    broken: bool,
}

/// All connections.
pub(super) struct Clients {
    listener: UnixListener,
    all: Vec<Client>,
    next_id: u64,
}

impl Clients {
    pub fn new(listener: UnixListener) -> Self {
        Self {
            listener,
            all: Vec::new(),
            next_id: 0,
        }
    }

    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Each connection, and whether something waits to be sent on it.
    pub fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        self.all
            .iter()
            .map(|client| (client.stream.as_fd(), !client.unsent.is_empty()))
    }

    /// Takes new connections; those too many are closed at once.
    pub fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.all.len() < MOST && stream.set_nonblocking(true).is_ok() {
                self.all.push(Client {
                    id: self.next_id,
                    stream,
                    unparsed: Vec::new(),
                    unsent: Vec::new(),
                    subscribed: false,
                    broken: false,
                });
                self.next_id += 1;
            }
        }
    }

    /// Reads what clients sent; returns their requests with the client to answer.
    pub fn requests(&mut self) -> Vec<(u64, Result<Request, String>)> {
        let mut requests = Vec::new();
        for client in &mut self.all {
            client.flush();
            client.read();
            for line in client.lines() {
                let request =
                    serde_json::from_slice(&line).map_err(|error| format!("request not understood: {error}"));
                client.subscribed |= matches!(request, Ok(Request::Subscribe));
                requests.push((client.id, request));
            }
        }
        self.all.retain(|client| !client.broken);
        requests
    }

    /// Answers a client, if it is still there.
    pub fn reply(&mut self, to: u64, reply: &Reply) {
        if let Some(client) = self.all.iter_mut().find(|client| client.id == to)
            && let Ok(mut line) = serde_json::to_vec(reply)
        {
            line.push(b'\n');
            client.send(&line);
        }
    }

    /// Tells subscribers of new output. One that has not read the last word yet needs no further one.
    pub fn nudge(&mut self) {
        for client in self
            .all
            .iter_mut()
            .filter(|client| client.subscribed && client.unsent.is_empty())
        {
            match client.stream.write(b"\n") {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => client.broken = true,
                Ok(_) => {}
            }
        }
    }
}

impl Client {
    fn send(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
        self.broken |= self.unsent.len() > LONGEST_BACKLOG;
        self.flush();
    }

    fn flush(&mut self) {
        while !self.unsent.is_empty() && !self.broken {
            match self.stream.write(&self.unsent) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.broken = true,
            }
        }
    }

    fn read(&mut self) {
        let mut chunk = [0; 4096];
        while !self.broken {
            match self.stream.read(&mut chunk) {
                Ok(0) => self.broken = true,
                Ok(count) => {
                    self.unparsed
                        .extend_from_slice(chunk.get(..count).unwrap_or_default());
                    self.broken |= self.unparsed.len() > LONGEST_LINE;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.broken = true,
            }
        }
    }

    fn lines(&mut self) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        while let Some(end) = self.unparsed.iter().position(|byte| *byte == b'\n') {
            let rest = self.unparsed.split_off(end + 1);
            lines.push(std::mem::replace(&mut self.unparsed, rest));
        }
        lines
    }
}
