//! Container images at their registry: references, manifests, configurations, verified blobs.
//!
//! Knows the distribution protocol and the OCI and Docker image formats. Knows no apps, no disk layout and no
//! unpacking: [`Client::resolve`] says what an image is before any layer is fetched, [`Client::blob`] gives a
//! layer's bytes as a reader that cannot hand out a whole blob with the wrong digest.
//!
//! A push walks these files in order: `reference` (text → name), `client` (one authenticated GET with retries, over
//! `transport` for redirects and TLS, `challenge` and `token` for credentials), `resolve` (name → digests, layers,
//! configuration, read by `manifest` and `config`), `blob` (digest → bytes).
//!
//! The process must have installed a rustls provider before [`Client::new`].

mod authority;
mod blob;
mod challenge;
mod client;
mod config;
mod credentials;
mod error;
mod manifest;
mod platform;
mod reference;
mod resolve;
mod retry;
mod settings;
mod token;
mod transport;

pub use blob::BlobReader;
pub use client::Client;
pub use credentials::Credentials;
pub use error::{Access, ErrorKind, ResolveError};
pub use reference::{DEFAULT_TAG, HUB, Reference, ReferenceError};
pub use resolve::Resolved;
pub use settings::{Settings, SettingsError, Timeouts};
