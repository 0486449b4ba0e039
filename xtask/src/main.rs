//! Tools of the house: `cargo xtask <task>`.
//!
//! Knows the repository's layout and the platform from outside, as its users do.

mod bench;
#[cfg(feature = "codegen")]
mod codegen;
mod demo;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["demo"] => demo::run(demo::Then::KeepRunning),
        ["demo", "--once"] => demo::run(demo::Then::End),
        ["bench", rest @ ..] => bench::run(rest),
        // The row `pull` runs it as a process of its own.
        ["inflate", files @ ..] => bench::inflate(files),
        #[cfg(feature = "codegen")]
        ["codegen"] => codegen::run(),
        #[cfg(not(feature = "codegen"))]
        ["codegen"] => Err(anyhow::anyhow!(
            "run: cargo run -p xtask --features codegen -- codegen"
        )),
        other => Err(anyhow::anyhow!(
            "unknown task {other:?}; there are: demo [--once], bench [--pairs N] [row…], codegen"
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
