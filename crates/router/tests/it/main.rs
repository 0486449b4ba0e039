//! The router as its clients and its apps see it: real sockets on both sides, nothing replaced.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where and why")]

mod drain;
mod errors;
mod feed;
mod fixture;
mod headers;
mod http2;
mod load;
mod log;
mod retries;
mod smuggling;
mod sticky;
mod streaming;
mod timeouts;
mod tls;
mod upgrade;
