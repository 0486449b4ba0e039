//! `api`: which API is spoken to.

use crate::command::{Command, Group};
use crate::config::Config;
use crate::error::Result;
use crate::grammar::{Args, Flag, Positional};
use crate::session::Session;
use crate::table::Table;

pub const COMMANDS: &[Command] = &[Command {
    name: "api",
    alias: "",
    summary: "Set or view target api url",
    usage: "api [URL] [--skip-ssl-validation]\napi --unset",
    group: Group::GettingStarted,
    positionals: &[Positional::Optional],
    flags: &[
        Flag::switch(
            "skip-ssl-validation",
            "",
            "Skip verification of the API endpoint. Not recommended!",
        ),
        Flag::switch("unset", "", "Remove all api endpoint targeting"),
    ],
    run: |session, args| Box::pin(api(session, args)),
}];

async fn api(session: &Session, args: &Args) -> Result<()> {
    let ui = &session.ui;
    if args.has("unset") {
        ui.line("Unsetting API endpoint...");
        session.api.update(|config| *config = Config::default())?;
        ui.ok();
        return Ok(());
    }
    if !args.at(0).is_empty() {
        ui.line(&format!("Setting API endpoint to {}...", ui.name(args.at(0))));
        set(session, &with_scheme(args.at(0)), args.has("skip-ssl-validation")).await?;
        ui.ok();
    }
    show(session);
    Ok(())
}

/// Targets an API and warns when nothing protects what is said to it.
pub async fn set(session: &Session, url: &str, skip_ssl_validation: bool) -> Result<()> {
    session.api.target(url, skip_ssl_validation).await?;
    if url.starts_with("http:") {
        session
            .ui
            .warn("Warning: Insecure http API endpoint detected: secure https API endpoints are recommended");
    }
    Ok(())
}

/// An address as typed, with `https` where nothing else is said.
pub fn with_scheme(url: &str) -> String {
    let url = url.trim_end_matches('/');
    if url.contains("://") {
        url.to_owned()
    } else {
        format!("https://{url}")
    }
}

fn show(session: &Session) {
    let (ui, config, program) = (&session.ui, session.api.config(), &session.program);
    if config.api.is_empty() {
        ui.line(&format!(
            "No API endpoint set. Use '{program} api' to set an endpoint"
        ));
        return;
    }
    let mut table = Table::of_pairs();
    table.pair("API endpoint:", config.api.as_str());
    table.pair("API version:", config.api_version.as_str());
    table.print(ui);
    if !config.is_logged_in() {
        ui.line(&format!(
            "\nNot logged in. Use '{program} login' or '{program} auth' to log in."
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_a_scheme() {
        assert_eq!(with_scheme("api.example/"), "https://api.example");
        assert_eq!(with_scheme("http://127.0.0.1:8080"), "http://127.0.0.1:8080");
    }
}
