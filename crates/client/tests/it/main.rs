//! The command line against a real HTTP server that speaks the recorded conversation: what is sent, in which order,
//! what is shown, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod curl;
mod grammar;
mod list;
mod login;
mod logs;
mod push;
mod registry;
mod server;
mod start;
mod terminal;
mod user;
