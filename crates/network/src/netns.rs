//! The network namespace of a process: entered by a thread of its own, never by the caller's.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;

use crate::Error;

/// The namespace of the calling thread; `/proc/self` would be that of the process's first thread.
const OWN: &str = "/proc/thread-self/ns/net";

/// A held network namespace: it lives as long as this value.
#[derive(Debug)]
pub(crate) struct Namespace {
    /// The process it was taken from.
    pub(crate) pid: u32,
    file: File,
}

impl Namespace {
    /// Takes hold of the namespace of `pid`, which must not be the caller's own.
    pub(crate) fn of(pid: u32) -> Result<Self, Error> {
        let refused = |why: String| Error::Namespace { pid, why };
        let file = File::open(format!("/proc/{pid}/ns/net")).map_err(|error| refused(error.to_string()))?;
        let identity = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino()));
        let own = File::open(OWN)
            .and_then(|own| identity(&own))
            .map_err(|error| refused(error.to_string()))?;
        if identity(&file).map_err(|error| refused(error.to_string()))? == own {
            return Err(refused("it shares the network of the platform itself".to_owned()));
        }
        Ok(Self { pid, file })
    }

    /// The descriptor, to name the namespace to the kernel.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Runs `work` on a short-lived thread inside the namespace.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        isolated(|| sys::netns::enter(self.fd()).map(|()| work())).map_err(|source| Error::System {
            what: "enter the container's network namespace",
            source,
        })
    }
}

/// Runs `work` in a new, empty network namespace that ends with it.
pub(crate) fn in_scratch<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    isolated(|| sys::netns::unshare().map(|()| work())).map_err(|source| Error::System {
        what: "create a network namespace",
        source,
    })
}

fn isolated<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Writes `value` to `name` below `/proc/sys/net` of the calling thread's namespace, if it differs.
pub(crate) fn set_sysctl(name: &str, value: &'static str) -> Result<Change, Error> {
    let path = format!("/proc/sys/net/{name}");
    let failed = |source| Error::Sysctl {
        name: name.to_owned(),
        value,
        source,
    };
    let held = std::fs::read_to_string(&path).map_err(failed)?;
    if held.split_whitespace().eq(value.split_whitespace()) {
        return Ok(Change::AlreadySo);
    }
    std::fs::write(&path, value).map_err(failed)?;
    Ok(Change::Made)
}

/// Whether a kernel parameter had to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It had the value.
    AlreadySo,
    /// It has it now.
    Made,
}
