//! Layers of images become root filesystems.
//!
//! [`LayerStore`] unpacks each layer once, un-shifted, into a directory named by its diff id. [`Rootfs`] stacks layers
//! under a writable directory of an instance: an id-mapped view of the store gives every instance its own owners
//! without copying a file. Image content is hostile here; nothing of it is executed or followed out of its directory.
//!
//! Knows no registry, no container runtime and no app. All calls block: run them where blocking is allowed.

mod assemble;
mod decode;
mod draft;
mod error;
mod extract;
mod flight;
#[cfg(fuzzing)]
pub mod fuzzing;
mod graft;
mod inherit;
mod instance;
mod marker;
mod origin;
mod overlay;
mod path;
mod quota;
mod remove;
mod report;
mod stack;
mod store;
mod tar;
mod tree;
mod unpacker;
mod upkeep;
mod usage;
mod worker;

pub use assemble::{IdRange, Mounted, Rootfs, RootfsSpec};
pub use error::{AssembleError, StoreError, TarError, UnpackError, UsageError};
pub use origin::Origin;
pub use quota::{DiskQuota, Quota, QuotaError};
pub use store::{LayerStore, Pin, StoredLayer};
pub use unpacker::{Reserve, Unpacker};
pub use upkeep::{Removed, lacks_room};
pub use worker::unpack_main;

/// Bounds on one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Most bytes of file content; holes of sparse files are free.
    pub max_bytes: u64,
    /// Most entries, directories made without an entry included.
    pub max_entries: u64,
}

/// What a layer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerInfo {
    /// Bytes of file content, each file counted as often as it is in the tar; holes are free.
    pub bytes: u64,
    /// Entries of the tar.
    pub entries: u64,
    /// Character and block devices that were left out: no layer holds a device.
    pub devices_skipped: u64,
    /// Extended attributes that were left out: overlay and host metadata, attributes of symlinks and FIFOs, and those
    /// the store's filesystem cannot keep.
    pub xattrs_skipped: u64,
}
