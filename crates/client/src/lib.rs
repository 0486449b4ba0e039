//! The built-in command line: `cf`'s grammar, texts, tables and exit codes, over HTTP to any v3 API.
//!
//! Knows the public API (Cloud Controller v3, UAA, Log Cache) and nothing of how it is served. It keeps its own
//! configuration directory (`.slipway` in the home directory) and never touches `.cf`.
//!
//! Reading order: [`run`] finds a `command::Command` in `commands`, `grammar` turns its arguments into `Args`, and the
//! command works on a `Session` (what is targeted, the `api`, the `ui`). One file per noun in `commands`.

mod api;
mod command;
mod commands;
mod config;
mod environment;
mod error;
mod grammar;
mod help;
mod json;
mod manifest;
mod pace;
mod password;
mod prompt;
mod secret;
mod session;
mod table;
mod time;
mod token;
mod ui;
mod units;

use std::sync::LazyLock;

pub use environment::{Environment, Streams, Terminal, Trace};
pub use secret::Secret;

use command::Command;
use error::Error;
use grammar::{Fault, Parsed};
use session::Session;

/// A command as told to the outside: its name, its short alias (empty if none), one line on what it does.
pub type Summary = (&'static str, &'static str, &'static str);

/// Whether `name` is a command of this crate, by name or by alias.
pub fn is_command(name: &str) -> bool {
    commands::find(name).is_some()
}

/// Every command, in the order of the help text.
pub fn commands() -> &'static [Summary] {
    static SUMMARIES: LazyLock<Vec<Summary>> =
        LazyLock::new(|| commands::all().map(|c| (c.name, c.alias, c.summary)).collect());
    &SUMMARIES
}

/// Runs one command line (without the program's own name) and says how the process should exit:
/// 0 done, 1 failed, 22 `curl --fail` met an error, 130 interrupted at a prompt.
///
/// The caller installs the process-wide TLS provider first.
pub async fn run(args: Vec<String>, mut environment: Environment) -> u8 {
    let mut args = args.as_slice();
    // Global flags stand before the command, as in `cf -v apps`.
    while let Some(("-v" | "--verbose", rest)) =
        args.split_first().map(|(first, rest)| (first.as_str(), rest))
    {
        if rest.is_empty() {
            break;
        }
        environment.trace_on_screen();
        args = rest;
    }
    let session = match Session::open(environment) {
        Ok(session) => session,
        Err((ui, error)) => {
            ui.fail(&error);
            return 1;
        }
    };
    let code = dispatch(&session, args).await;
    session.ui.flush();
    code
}

async fn dispatch(session: &Session, args: &[String]) -> u8 {
    let ui = &session.ui;
    let Some((name, rest)) = args.split_first() else {
        help::overview(ui, &session.program);
        return 0;
    };
    let name = match name.as_str() {
        "-h" | "--help" => "help",
        "-v" | "--version" => "version",
        other => other,
    };
    let Some(command) = commands::find(name) else {
        return unknown(session, name);
    };
    match grammar::parse(command.positionals, command.flags, rest) {
        Ok(Parsed::Help) => {
            help::command(ui, &session.program, command);
            0
        }
        Ok(Parsed::Run(parsed)) => {
            if parsed.has("verbose") {
                session.api.trace_on_screen();
            }
            finish(session, command, (command.run)(session, &parsed).await)
        }
        Err(Fault::Extra(argument)) => finish(
            session,
            command,
            Err(Error::Usage(format!("unexpected argument \"{argument}\""))),
        ),
        Err(fault) => {
            ui.error_line(&format!("Incorrect Usage: {fault}\n"));
            help::command(ui, &session.program, command);
            1
        }
    }
}

fn finish(session: &Session, command: &Command, outcome: Result<(), Error>) -> u8 {
    let Err(error) = outcome else { return 0 };
    session.ui.fail(&error);
    if matches!(error, Error::Usage(_)) {
        session.ui.line("");
        help::command(&session.ui, &session.program, command);
    }
    error.exit_code()
}

fn unknown(session: &Session, name: &str) -> u8 {
    let program = &session.program;
    session.ui.error_line(&format!(
        "'{name}' is not a registered command. See '{program} help -a'"
    ));
    let near = commands::similar(name);
    if !near.is_empty() {
        session
            .ui
            .error_line(&format!("\nDid you mean?\n  {}", near.join("\n  ")));
    }
    1
}
