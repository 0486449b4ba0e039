//! A whole cell on the real kernel: image from Debian's `docker-registry`, unpacked, mounted, networked and run, told
//! over gRPC and logs. Every test has a cell of its own and leaves nothing.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on panics, its helpers too"
)]

mod adoption;
mod crowd;
mod disk;
mod failing;
mod image;
mod killing;
mod operator;
mod private;
mod pulling;
mod running;
mod stopping;
mod world;
