//! Help: everything on one page, grouped; one command in detail.

use crate::command::{Command, Group};
use crate::commands;
use crate::ui::Ui;

/// All commands, by group.
pub fn overview(ui: &Ui, program: &str) {
    ui.line(&format!(
        "{} - push container images and run them\n",
        ui.bold(program)
    ));
    ui.line(&format!(
        "USAGE:\n   {program} [-v] COMMAND [ARGUMENTS...] [FLAGS...]"
    ));
    let width = commands::all()
        .map(|command| names(command).len())
        .max()
        .unwrap_or_default();
    for group in Group::ALL {
        ui.line(&format!("\n{}:", ui.bold(group.title())));
        for command in commands::all().filter(|command| command.group == group) {
            ui.line(&format!("   {:width$}   {}", names(command), command.summary));
        }
    }
    ui.line(&format!(
        "\n'{program} help COMMAND' explains one command; '-v' before any command shows its requests."
    ));
}

/// One command in detail.
pub fn command(ui: &Ui, program: &str, command: &Command) {
    ui.line(&format!(
        "{}:\n   {} - {}\n",
        ui.bold("NAME"),
        command.name,
        command.summary
    ));
    ui.line(&format!("{}:", ui.bold("USAGE")));
    for form in command.usage.lines() {
        ui.line(&format!("   {program} {form}"));
    }
    if !command.alias.is_empty() {
        ui.line(&format!("\n{}:\n   {}", ui.bold("ALIAS"), command.alias));
    }
    if !command.flags.is_empty() {
        ui.line(&format!("\n{}:", ui.bold("OPTIONS")));
        let width = command
            .flags
            .iter()
            .map(|flag| flag.shown().len())
            .max()
            .unwrap_or_default();
        for flag in command.flags {
            ui.line(&format!("   {:width$}   {}", flag.shown(), flag.help));
        }
    }
}

fn names(command: &Command) -> String {
    match command.alias {
        "" => command.name.to_owned(),
        alias => format!("{}, {alias}", command.name),
    }
}
