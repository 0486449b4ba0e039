//! The identity server over real sockets, on a real store. Time is the tests' own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod discovery;
mod login;
mod seed;
mod server;
mod users;
