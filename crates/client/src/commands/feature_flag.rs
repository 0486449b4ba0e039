//! Feature flags: `feature-flags`, `feature-flag`, `enable-feature-flag`, `disable-feature-flag`.

use serde_json::{Value, json};

use crate::command::{Command, Group};
use crate::error::{Error, Result};
use crate::grammar::{Args, Positional};
use crate::json::Json;
use crate::session::Session;
use crate::table::Table;

const FLAG: &[Positional] = &[Positional::Required("FEATURE_FLAG_NAME")];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "feature-flags",
        alias: "",
        summary: "Retrieve list of feature flags with status",
        usage: "feature-flags",
        group: Group::Platform,
        positionals: &[],
        flags: &[],
        run: |session, _| Box::pin(list(session)),
    },
    Command {
        name: "feature-flag",
        alias: "",
        summary: "Retrieve an individual feature flag with status",
        usage: "feature-flag FEATURE_FLAG_NAME",
        group: Group::Platform,
        positionals: FLAG,
        flags: &[],
        run: |session, args| Box::pin(show(session, args)),
    },
    Command {
        name: "enable-feature-flag",
        alias: "",
        summary: "Allow use of a feature",
        usage: "enable-feature-flag FEATURE_FLAG_NAME",
        group: Group::Platform,
        positionals: FLAG,
        flags: &[],
        run: |session, args| Box::pin(set(session, args, "Enabling", true)),
    },
    Command {
        name: "disable-feature-flag",
        alias: "",
        summary: "Prevent use of a feature",
        usage: "disable-feature-flag FEATURE_FLAG_NAME",
        group: Group::Platform,
        positionals: FLAG,
        flags: &[],
        run: |session, args| Box::pin(set(session, args, "Disabling", false)),
    },
];

async fn list(session: &Session) -> Result<()> {
    let (ui, user) = (&session.ui, session.user()?);
    ui.line(&format!("Getting feature flags as {}...\n", ui.name(&user)));
    let mut flags = session.api.list("/v3/feature_flags", &[]).await?;
    flags.sort_by(|a, b| a.name().cmp(b.name()));
    print(session, &flags, ("name", "state"));
    Ok(())
}

async fn show(session: &Session, args: &Args) -> Result<()> {
    let (ui, user) = (&session.ui, session.user()?);
    ui.line(&format!(
        "Getting info for feature flag {} as {}...\n",
        ui.name(args.at(0)),
        ui.name(&user)
    ));
    let flag = session
        .api
        .get(&path(args), &[])
        .await
        .map_err(|error| missing(error, args))?;
    print(session, &[flag], ("Features", "State"));
    Ok(())
}

async fn set(session: &Session, args: &Args, doing: &str, enabled: bool) -> Result<()> {
    let (ui, user) = (&session.ui, session.user()?);
    ui.line(&format!(
        "{doing} feature flag {} as {}...",
        ui.name(args.at(0)),
        ui.name(&user)
    ));
    let outcome = session
        .api
        .patch(&path(args), &json!({ "enabled": enabled }))
        .await;
    outcome.map_err(|error| missing(error, args))?;
    ui.ok();
    Ok(())
}

fn path(args: &Args) -> String {
    format!("/v3/feature_flags/{}", args.at(0))
}

fn missing(error: Error, args: &Args) -> Error {
    if error.is_not_found() {
        Error::NotFound(format!("Feature flag '{}' not found.", args.at(0)))
    } else {
        error
    }
}

fn print(session: &Session, flags: &[Value], heading: (&str, &str)) {
    let mut table = Table::with_header(&[heading.0, heading.1]);
    for flag in flags {
        let state = if flag.truth("/enabled") == Some(true) {
            "enabled"
        } else {
            "disabled"
        };
        table.row([flag.name(), state]);
    }
    table.print(&session.ui);
}
