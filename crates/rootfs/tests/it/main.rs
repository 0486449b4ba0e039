//! Real tars into real directories, real overlays on this kernel. Needs root.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod corpus_tars;
mod hostile;
mod hostile_stacks;
mod mounts;
mod ownership;
mod private;
mod reference;
mod room;
mod store;
mod tars;
mod unpack;
mod upkeep;
