//! The log store as its peers see it: over HTTP as the CLI, over a Unix socket as a cell.

#![expect(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

mod http;
mod sink;
