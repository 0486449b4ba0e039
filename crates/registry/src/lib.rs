//! The platform's own registry: images can be pushed to Slipway itself and pulled from it, by any client of the OCI
//! distribution-spec (pull and push; listing tags; no deletion).
//!
//! Knows blobs, manifests and tags on disk and how they travel; does not know users: who may do what is asked of an
//! [`Access`]. A blob is stored once, whoever pushes it, but seen only in repositories it was pushed or mounted into,
//! so knowing a digest gives nobody another's bytes.
//!
//! Rules: OCI distribution-spec 1.1; statuses and error codes from its "Error Codes" and "Endpoints" tables.

mod access;
mod blob;
mod disk;
mod failure;
mod http;
mod manifest;
mod name;
mod upload;

pub use access::{Access, Action, Presented, Verdict};
pub use disk::{OpenError, Settings, Storage, StorageError};
pub use http::router;
