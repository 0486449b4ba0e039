//! The store against real databases: every test runs on SQLite and on PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod crash;
mod feed;
mod migration;
mod postgres;
mod refusal;
mod rows;
mod speed;
mod temp_store;
mod turns;
