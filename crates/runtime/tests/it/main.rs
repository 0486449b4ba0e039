//! The runtime against the real kernel: needs root, control groups and `/bin/busybox`.

mod lifecycle;
mod world;
