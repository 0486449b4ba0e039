//! The log store: takes envelopes from the roles (`slipway.v1.Logs`) and gives them to clients of the Log Cache API.
//!
//! Knows envelopes, their order and how much memory they may take; does not know who may read what, which is asked of
//! a [`ReadAccess`]. Everything is in memory: lines of a store that died are gone, as in the original.
//!
//! ```text
//! cell, api, router ──Ingest──▶ Ingest ──append──▶ Store (one Ring per source) ──read──▶ http ──JSON──▶ cf
//! ```

mod entry;
mod http;
mod ingest;
mod query;
mod render;
mod ring;
mod store;

pub use entry::{Entry, Origin, Output};
pub use http::{ReadAccess, router};
pub use ingest::Ingest;
pub use ring::SourceMeta;
pub use store::{Order, Range, Settings, Store};
