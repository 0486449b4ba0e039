//! What can go wrong, in words an operator can act on.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::Cidr;
use crate::netlink::Refusal;

/// A failure of the container network.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The platform tag cannot be part of interface names.
    #[error("network tag {0:?} is not usable: it must be 1 to 8 characters of a-z and 0-9")]
    Tag(String),
    /// The container id cannot be a lease.
    #[error(
        "container id {0:?} is not usable: it must be 1 to 200 characters of A-Z, a-z, 0-9, '.', '_' and '-'"
    )]
    Id(String),
    /// The network is too small or too large to hand out addresses from.
    #[error("container network {0} is not usable: its prefix must be between /8 and /28")]
    Size(Cidr),
    /// The network would hide something the host already reaches.
    #[error("container network {cidr} overlaps {what}; choose a free range with --container-network")]
    Overlap {
        /// The network asked for.
        cidr: Cidr,
        /// What it would hide, with its interface.
        what: String,
    },
    /// Apps run in another range than the one asked for.
    #[error(
        "containers of this platform already use the network of {held}/{prefix} on {bridge}, not {cidr}; \
         keep the old --container-network, or stop all apps first"
    )]
    CidrChanged {
        /// Our bridge.
        bridge: String,
        /// The address the bridge has.
        held: Ipv4Addr,
        /// The prefix length the bridge has.
        prefix: u8,
        /// The network asked for.
        cidr: Cidr,
    },
    /// No address is free.
    #[error(
        "every address of container network {0} is in use; choose a larger range with --container-network"
    )]
    Exhausted(Cidr),
    /// A link of ours is still being removed.
    #[error("the previous network of container {0} is still being removed; try again")]
    StillLeaving(String),
    /// The process is gone, or shares the host's network.
    #[error("process {pid} has no network namespace to attach: {why}")]
    Namespace {
        /// The process.
        pid: u32,
        /// What is wrong with it.
        why: String,
    },
    /// A file of the state directory failed.
    #[error("cannot {what} {}", path.display())]
    State {
        /// What was tried, as a verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A kernel setting could not be written.
    #[error("cannot set kernel parameter {name} to {value:?}")]
    Sysctl {
        /// Path below `/proc/sys/net`.
        name: String,
        /// The value.
        value: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A system call failed.
    #[error("cannot {what}")]
    System {
        /// What was tried, as a verb.
        what: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a change of links, addresses, routes or rules.
    #[error("cannot {what}")]
    Kernel {
        /// What was tried, as a verb.
        what: String,
        /// The cause.
        #[source]
        source: Refusal,
    },
}

/// Names what was tried.
pub(crate) trait During<T> {
    /// Turns a refusal into an [`Error::Kernel`] that says `what` was tried.
    fn during(self, what: impl Into<String>) -> Result<T, Error>;
}

impl<T> During<T> for Result<T, Refusal> {
    fn during(self, what: impl Into<String>) -> Result<T, Error> {
        self.map_err(|source| Error::Kernel {
            what: what.into(),
            source,
        })
    }
}
