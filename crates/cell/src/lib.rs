//! One machine that runs instances: takes specs over gRPC, makes containers of them, watches their health, tells
//! their output and their end.
//!
//! Knows instances and the second floor (`image`, `rootfs`, `network`, `runtime`), which it joins. Does not know the
//! scheduler or the store: it works from what it was told and from its ledger, and keeps containers running while the
//! control plane, or this daemon, is away.
//!
//! The life of an instance walks these files in order: `service` (the request), `admission` (room for it?), `ledger`
//! (accepted means written down), `actor` (one task per instance; its moves are in `phase`), `layers` (image here?),
//! `container` and `env` (root filesystem, container, address), `health`, `logs`, `stats`, `outcome` (how it ended).
//! `recovery` is the start of the daemon: what the ledger and the kernel say is adopted, continued or cleaned.
//!
//! Invariants:
//! - Every kernel object is named from the instance's guid, so cleaning needs no memory and may be repeated.
//! - One task acts on a container; everybody else only sets its `stop` signal.
//! - An end is in the ledger before anything of the container is removed, and told after everything is.

mod actor;
mod address;
mod admission;
mod board;
mod cell;
mod collection;
mod container;
mod elapsed;
mod env;
mod error;
mod health;
mod host;
mod ids;
mod images;
mod instance;
mod layers;
mod ledger;
mod logs;
mod machine;
mod outcome;
mod phase;
mod recovery;
mod registry;
mod service;
mod settings;
mod stats;
mod trust;
mod upkeep;

pub use cell::Cell;
pub use error::CellError;
pub use images::ImageRecord;
pub use machine::{command_main, container_network, probe, shim_main, unpack_main};
pub use network::Cidr;
pub use rootfs::DiskQuota;
pub use service::Service;
pub use settings::{Capacity, Collection, Settings};
