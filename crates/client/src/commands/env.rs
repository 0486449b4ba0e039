//! Environment variables of an app: `env`, `set-env`, `unset-env`.

use serde_json::{Value, json};

use crate::command::{Command, Group};
use crate::error::Result;
use crate::grammar::{Args, Positional};
use crate::json::Json;
use crate::session::Session;

const APP: Positional = Positional::Required("APP_NAME");
const NAME: Positional = Positional::Required("ENV_VAR_NAME");

pub const COMMANDS: &[Command] = &[
    Command {
        name: "env",
        alias: "e",
        summary: "Show all env variables for an app",
        usage: "env APP_NAME",
        group: Group::Apps,
        positionals: &[APP],
        flags: &[],
        run: |session, args| Box::pin(env(session, args)),
    },
    Command {
        name: "set-env",
        alias: "se",
        summary: "Set an env variable for an app",
        usage: "set-env APP_NAME ENV_VAR_NAME ENV_VAR_VALUE",
        group: Group::Apps,
        positionals: &[APP, NAME, Positional::Verbatim("ENV_VAR_VALUE")],
        flags: &[],
        run: |session, args| Box::pin(set(session, args)),
    },
    Command {
        name: "unset-env",
        alias: "ue",
        summary: "Remove an env variable from an app",
        usage: "unset-env APP_NAME ENV_VAR_NAME",
        group: Group::Apps,
        positionals: &[APP, NAME],
        flags: &[],
        run: |session, args| Box::pin(unset(session, args)),
    },
];

async fn env(session: &Session, args: &Args) -> Result<()> {
    let (ui, target) = (&session.ui, session.target()?);
    session.announce("Getting env variables for app", args.at(0), &target);
    let app = session.app(args.at(0), &target.space.guid).await?;
    let env = session
        .api
        .get(&format!("/v3/apps/{}/env", app.guid()), &[])
        .await?;
    let group = |key: &str| entries(env.get(key));
    let system: Vec<_> = group("system_env_json")
        .into_iter()
        .chain(group("application_env_json"))
        .collect();
    let groups = [
        (
            "System-Provided:",
            system,
            "No system-provided env variables have been set",
        ),
        (
            "User-Provided:",
            group("environment_variables"),
            "No user-provided env variables have been set",
        ),
        (
            "Running Environment Variable Groups:",
            group("running_env_json"),
            "No running env variables have been set",
        ),
        (
            "Staging Environment Variable Groups:",
            group("staging_env_json"),
            "No staging env variables have been set",
        ),
    ];
    for (heading, entries, none) in groups {
        ui.line(&ui.bold(heading));
        if entries.is_empty() {
            ui.line(none);
        }
        for (name, value) in entries {
            ui.line(&format!("{name}: {value}"));
        }
        ui.line("");
    }
    Ok(())
}

/// Names with their values: texts as they are, the rest as indented JSON.
fn entries(group: Option<&Value>) -> Vec<(String, String)> {
    let shown = |value: &Value| value.as_str().map_or_else(|| format!("{value:#}"), str::to_owned);
    let map = group.and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), shown(value)))
        .collect()
}

async fn set(session: &Session, args: &Args) -> Result<()> {
    let (ui, target) = (&session.ui, session.target()?);
    let (app_name, name) = (ui.name(args.at(0)), ui.name(args.at(1)));
    ui.line(&format!(
        "Setting env variable {name} for app {app_name} {}...",
        session.place("in", &target)
    ));
    let app = session.app(args.at(0), &target.space.guid).await?;
    // An empty value unsets, as in `cf`.
    let value = if args.at(2).is_empty() {
        Value::Null
    } else {
        json!(args.at(2))
    };
    patch(session, app.guid(), args.at(1), value).await?;
    ui.ok();
    tip(session, args);
    Ok(())
}

async fn unset(session: &Session, args: &Args) -> Result<()> {
    let (ui, target) = (&session.ui, session.target()?);
    let (app_name, name) = (ui.name(args.at(0)), ui.name(args.at(1)));
    ui.line(&format!(
        "Removing env variable {name} from app {app_name} {}...",
        session.place("in", &target)
    ));
    let app = session.app(args.at(0), &target.space.guid).await?;
    let env = session
        .api
        .get(&format!("/v3/apps/{}/env", app.guid()), &[])
        .await?;
    let set = env
        .get("environment_variables")
        .and_then(|variables| variables.get(args.at(1)));
    if set.is_none_or(Value::is_null) {
        ui.line(&format!("Env variable {} was not set.", args.at(1)));
        ui.ok();
        return Ok(());
    }
    patch(session, app.guid(), args.at(1), Value::Null).await?;
    ui.ok();
    tip(session, args);
    Ok(())
}

async fn patch(session: &Session, app: &str, name: &str, value: Value) -> Result<()> {
    let body = json!({ "var": { name: value } });
    session
        .api
        .patch(&format!("/v3/apps/{app}/environment_variables"), &body)
        .await?;
    Ok(())
}

fn tip(session: &Session, args: &Args) {
    let text = format!(
        "TIP: Use '{} restage {}' to ensure your env variable changes take effect.",
        session.program,
        args.at(0)
    );
    session.ui.line(&text);
}
