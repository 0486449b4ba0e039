//! Generates `crates/wire/src/generated/` from the `.proto` file, with a protobuf compiler written in Rust.

use std::path::Path;

use anyhow::Context;

/// Regenerates the committed code.
pub fn run() -> anyhow::Result<()> {
    let wire = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/wire");
    let files = protox::compile([wire.join("proto/slipway.proto")], [wire.join("proto")])?;
    let out = wire.join("src/generated");
    std::fs::create_dir_all(&out)?;
    tonic_prost_build::configure()
        .out_dir(&out)
        .compile_fds(files)
        .context("generating code")
}
