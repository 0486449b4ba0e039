//! Real tars into real directories, real overlays on this kernel. Needs root.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod confined;
mod corpus;
mod corpus_big;
mod corpus_layout;
mod corpus_tars;
mod corpus_view;
mod crash;
mod hostile;
mod hostile_blobs;
mod hostile_bounds;
mod hostile_stacks;
mod mounts;
mod ownership;
mod pipeline;
mod private;
mod process;
mod quota;
mod reference;
mod room;
mod store;
mod tars;
mod unpack;
mod upkeep;
