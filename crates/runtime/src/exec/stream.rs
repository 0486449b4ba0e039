//! Our ends of a program's pipes or terminal, for async reading and writing.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe::{Receiver, Sender};

use rustix::io::Errno;

/// What a program run by [`crate::Runtime::exec`] writes.
#[derive(Debug)]
pub struct ExecOutput(Receiver);

/// The standard input of a program run by [`crate::Runtime::exec`]. Dropping it ends the input; on a terminal that
/// takes the end-of-file character instead.
#[derive(Debug)]
pub struct ExecInput(Sender);

impl ExecOutput {
    /// Takes a pipe or terminal; it becomes non-blocking.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self(Receiver::from_owned_fd_unchecked(fd)?))
    }
}

impl ExecInput {
    /// Takes a pipe or terminal; it becomes non-blocking.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self(Sender::from_owned_fd_unchecked(fd)?))
    }
}

impl AsyncRead for ExecOutput {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.0).poll_read(context, buffer));
        Poll::Ready(match read {
            // A terminal that no program has open any more says so instead of telling the end (tty_ioctl(4)).
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => Ok(()),
            read => read,
        })
    }
}

impl AsyncWrite for ExecInput {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
