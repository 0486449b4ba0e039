//! Messages between the roles (control, cell, router, logs) and the transport that carries them.
//!
//! Knows the shape of messages and how to connect; knows nothing of what anybody does with them. The messages are
//! generated from `proto/slipway.proto` by `cargo run -p xtask --features codegen -- codegen`.

#[expect(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated; documented in the .proto file"
)]
#[rustfmt::skip]
#[path = "generated/slipway.v1.rs"]
pub mod v1;

mod log_sink;
mod redact;
mod transport;

pub use log_sink::LogSink;
pub use tonic::transport::server::Router;
pub use tonic::transport::{Channel, Server};
pub use tonic::{Code, Request, Response, Status, Streaming, async_trait};
pub use transport::{connect, incoming};
