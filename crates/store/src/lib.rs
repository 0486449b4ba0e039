//! Durable state in SQL: SQLite within one machine, PostgreSQL beyond it, one schema and one set of queries.
//!
//! Knows rows and how to ask for them; knows nothing of who may see them or how they are shown. `api` and `uaa` write
//! desired rows, `scheduler` writes `actual_lrp`, `build` results and `droplet`. Every committed write wakes the
//! change feed; a reconciler then reads the world afresh.
//!
//! One noun, one file: each holds its row type. Queries are built from the noun's columns with [`Query`], so no other
//! crate names the SQL library.

mod error;
mod metadata;
mod migration;
mod noun;
mod pinned;
mod query;
mod tx;

pub mod actual_lrp;
pub mod app;
pub mod audit_event;
pub mod build;
pub mod client;
pub mod desired_lrp;
pub mod destination;
pub mod domain;
pub mod domain_share;
pub mod droplet;
pub mod feature_flag;
pub mod job;
pub mod org;
pub mod org_quota;
pub mod package;
pub mod process;
pub mod role;
pub mod route;
pub mod space;
pub mod user;

pub use error::StoreError;
pub use metadata::{LabelRequirement, MetadataKind};
pub use noun::Noun;
pub use pinned::{Damaged, config_column, layers_column};
pub use query::{Compare, Direction, Field, Page, Query};
pub use tx::{Feed, Options, Store, Tx, new_guid, now_micros};
