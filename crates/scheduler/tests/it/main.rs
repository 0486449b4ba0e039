//! The scheduler against a real database, a real registry and, over a real socket, a cell that does as it is told.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on panics, its helpers too"
)]

mod app;
mod cell;
mod crash;
mod fixture;
mod flag;
mod instance;
mod log;
mod recovery;
mod registry;
mod route;
mod staging;
