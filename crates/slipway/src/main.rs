//! The door: one binary that is the platform, its tools, and a `cf`-compatible command line.
//!
//! Knows which part of the house a command line means, and how the parts are joined; knows nothing of what they do.

mod access;
mod address;
mod check;
mod cli;
mod config;
mod data_dir;
mod down;
mod ground;
mod health;
mod images;
mod keys;
mod platform;
mod tls;
mod up;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = match std::env::args_os().map(std::ffi::OsString::into_string).collect() {
        Ok(args) => args,
        Err(argument) => return fail(&anyhow::anyhow!("argument {argument:?} is not valid UTF-8")),
    };
    // First of all: these processes must stay small, so nothing is set up before them.
    let rest = || args.iter().skip(2).map(Into::into);
    match args.get(1).map(String::as_str) {
        Some("shim") => cell::shim_main(rest()),
        Some("unpack") => cell::unpack_main(rest()),
        Some("runtime") => cell::command_main(&["slipway", "runtime"], rest()),
        _ => {}
    }
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        return fail(&anyhow::anyhow!("the TLS provider was installed twice"));
    }
    match cli::which(&args) {
        cli::Door::Platform => platform_command(args),
        cli::Door::Overview => {
            print!("{}", cli::overview());
            ExitCode::SUCCESS
        }
        cli::Door::Client => client_command(args),
    }
}

fn platform_command(args: Vec<String>) -> ExitCode {
    let outcome = match cli::parse(args) {
        cli::Command::Up(args) => config::Config::load(*args).and_then(up::run),
        cli::Command::Down(args) => down::run(&args),
        cli::Command::Check => return check::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn client_command(args: Vec<String>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let environment = client::Environment::from_process(env!("CARGO_PKG_VERSION"));
    ExitCode::from(runtime.block_on(client::run(args.into_iter().skip(1).collect(), environment)))
}

/// One line that says what went wrong, with its causes.
fn fail(error: &anyhow::Error) -> ExitCode {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    eprintln!("slipway: {}", causes.join(": "));
    ExitCode::FAILURE
}
