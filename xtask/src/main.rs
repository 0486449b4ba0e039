//! Tools of the house: `cargo xtask <task>`.
//!
//! Knows the repository's layout and nothing of the platform's crates.

#[cfg(feature = "codegen")]
mod codegen;

fn main() -> anyhow::Result<()> {
    let task = std::env::args().nth(1).unwrap_or_default();
    match task.as_str() {
        #[cfg(feature = "codegen")]
        "codegen" => codegen::run(),
        #[cfg(not(feature = "codegen"))]
        "codegen" => anyhow::bail!("run: cargo run -p xtask --features codegen -- codegen"),
        other => anyhow::bail!("unknown task {other:?}; there are: codegen"),
    }
}
