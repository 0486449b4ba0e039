//! Generates `crates/wire/src/generated/` from the `.proto` file, with a protobuf compiler written in Rust.

use std::path::Path;

use anyhow::Context;

/// Regenerates the committed code.
pub fn run() -> anyhow::Result<()> {
    let wire = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/wire");
    let files = protox::compile([wire.join("proto/slipway.proto")], [wire.join("proto")])?;
    let out = wire.join("src/generated");
    std::fs::create_dir_all(&out)?;
    let mut config = tonic_prost_build::Config::new();
    // These hold passwords and environments; wire/src/redact.rs prints them without.
    config.skip_debug(["InstanceSpec", "Image"]);
    tonic_prost_build::configure()
        .out_dir(&out)
        .compile_fds_with_config(files, config)
        .context("generating code")
}
