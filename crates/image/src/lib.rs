//! Container images at their registry: references, manifests, configurations, verified blobs.
//!
//! Knows the distribution protocol and the OCI and Docker image formats. Knows no apps, no disk layout and no
//! unpacking: [`Client::resolve`] says what an image is before any layer is fetched, [`Client::blob`] gives a
//! layer's bytes as a reader that cannot hand out a whole blob with the wrong digest.
//!
//! A push walks these files in order: `reference` (text → name), `client` (the operator's `document`, swapped while
//! in use), `session` (one authenticated request with retries: mirrors in `mirror`, credentials in `authorize`, over
//! `transport` for redirects and TLS), `resolve` (name → digests, layers, configuration, read by `manifest` and
//! `config`), `blob` (digest → bytes). What may be asked for is decided by `policy` (names) and `addresses`
//! (addresses, as `resolver` finds them).
//!
//! The process must have installed a rustls provider before [`Client::new`].

mod addresses;
mod authority;
mod authorize;
mod blob;
mod body;
mod capped;
mod cause;
mod certificate;
mod challenge;
mod client;
mod config;
mod credentials;
mod document;
mod ecr;
mod error;
mod explain;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod handshake;
mod manifest;
mod mirror;
mod platform;
pub mod policy;
mod probe;
mod proxies;
mod reference;
mod resolve;
mod resolver;
mod retry;
mod session;
mod settings;
mod sigv4;
mod token;
mod transport;
mod trust;

pub use blob::BlobReader;
pub use client::Client;
pub use credentials::Credentials;
pub use error::{Access, ErrorKind, ResolveError};
pub use explain::{Outcome, Step};
pub use reference::{DEFAULT_TAG, HUB, Reference, ReferenceError};
pub use resolve::Resolved;
pub use settings::{Settings, SettingsError, Timeouts};
