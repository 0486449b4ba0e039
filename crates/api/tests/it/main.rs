//! The API as clients meet it: the real router on a real store, with real tokens.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod lists;
mod push;
mod registry;
mod roles;
mod strangers;
mod table;
mod tenants;
mod users;
mod world;
