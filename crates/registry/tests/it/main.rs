//! The registry as its clients see it: request by request, through skopeo, and across a crash.

#![expect(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

mod house;
mod isolation;
mod process;
mod pull;
mod push;
mod skopeo;
