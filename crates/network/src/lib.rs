//! The network of containers on one host: a bridge, a link and address each, masquerading, default deny.
//!
//! Knows kernel objects and ids given to it; knows nothing of apps, and asks no host program: links go
//! over rtnetlink, rules over nftables' own netlink. All calls block for milliseconds and belong on a
//! blocking thread. They act on the network namespace of the thread that called [`Network::open`].
//!
//! Invariants:
//! - Every kernel object is named from the platform's tag or the container's id, so that anything left
//!   by a kill can be found and removed without memory (`names`).
//! - A container can send only with its own address, to nothing but what `nft::ruleset` lists; a port
//!   that is not yet or no longer admitted can send nothing at all.
//! - Whatever is already right is adopted untouched: established connections survive every restart.

mod attach;
mod bridge;
mod cidr;
mod error;
mod files;
mod host;
mod leases;
mod links;
mod names;
mod netlink;
mod netns;
mod network;
mod nft;
mod ports;
mod probe;
mod reaper;

pub use bridge::destroy_leftovers;
pub use cidr::{Cidr, NotACidr};
pub use error::Error;
pub use files::hosts;
pub use host::first_free;
pub use netlink::Refusal;
pub use network::{Attached, Egress, Network, Settings};
pub use ports::{connections_served, listening_ports};
pub use probe::probe;
