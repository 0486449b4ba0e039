//! The runtime against the real kernel: needs root, control groups and `/bin/busybox`.

mod adoption;
mod escapes;
mod exec;
mod inside;
mod lifecycle;
mod limits;
mod oci_cli;
mod output;
mod refusals;
mod suite;
mod world;
