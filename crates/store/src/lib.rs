//! Durable state in SQL: SQLite within one machine, PostgreSQL beyond it, one schema and one set of queries.
//!
//! Knows rows and how to ask for them; knows nothing of who may see them or how they are shown. `api` and `uaa` write
//! desired rows, `scheduler` writes `actual_lrp`, `build` results and `droplet`. Every committed write wakes the
//! change feed; a reconciler then reads the world afresh.
//!
//! The same promises hold on both engines:
//! - A write transaction is alone: on SQLite by the one write lock of the file, on PostgreSQL by an advisory lock, both
//!   across processes. Whoever waits for it waits at most 30 s. So keep writes short.
//! - A read transaction sees one snapshot, taken at its first query, is never held up by a write, and cannot write.
//! - A refused row ([`StoreError::Conflict`], [`StoreError::NotFound`]) leaves the transaction usable. After any other
//!   failure [`Tx::commit`] refuses, because PostgreSQL would keep nothing and yet report success.
//! - A commit once asked for is carried out and wakes the feed even when its caller goes away meanwhile.
//! - Text is compared and sorted by its bytes, whatever the language of the database.
//!
//! The feed hears the commits of its own process at once. On PostgreSQL it also hears those of other processes
//! (LISTEN/NOTIFY on a connection of its own, made anew when it breaks, and a wake after each such gap). On SQLite it
//! does not: only one process writes there. LISTEN and session settings need a direct connection or a pooler in session
//! mode. A feed is a hint: who depends on it also looks at the world now and then.
//!
//! One noun, one file: each holds its row type. Queries are built from the noun's columns with [`Query`], so no other
//! crate names the SQL library.

mod connect;
mod error;
mod feed;
mod metadata;
mod migration;
mod noun;
mod pinned;
mod query;
mod store;
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
pub mod registry_settings;
pub mod role;
pub mod route;
pub mod space;
pub mod user;

pub use connect::Options;
pub use error::StoreError;
pub use feed::Feed;
pub use metadata::{LabelRequirement, MetadataKind};
pub use noun::Noun;
pub use pinned::{Damaged, config_column, layers_column};
pub use query::{Compare, Direction, Field, Page, Query};
pub use store::Store;
pub use tx::{Tx, new_guid, now_micros};
