//! `help`, `version`.

use crate::command::{Command, Group};
use crate::commands;
use crate::error::{Error, Result};
use crate::grammar::{Args, Flag, Positional};
use crate::help as page;
use crate::session::Session;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "help",
        alias: "h",
        summary: "Show help",
        usage: "help [COMMAND]",
        group: Group::GettingStarted,
        positionals: &[Positional::Optional],
        flags: &[Flag::switch("all", "a", "All commands (the default)")],
        run: |session, args| Box::pin(async move { help(session, args) }),
    },
    Command {
        name: "version",
        alias: "",
        summary: "Print the version",
        usage: "version",
        group: Group::GettingStarted,
        positionals: &[],
        flags: &[],
        run: |session, _| Box::pin(async move { version(session) }),
    },
];

fn help(session: &Session, args: &Args) -> Result<()> {
    match args.at(0) {
        "" => page::overview(&session.ui, &session.program),
        name => {
            let command = commands::find(name).ok_or_else(|| {
                Error::Message(format!("'{name}' is not a registered command. See 'help -a'"))
            })?;
            page::command(&session.ui, &session.program, command);
        }
    }
    Ok(())
}

fn version(session: &Session) -> Result<()> {
    session
        .ui
        .line(&format!("{} version {}", session.program, session.version));
    Ok(())
}
