//! The operator's registry settings: `registry check`, `settings`, `set`, `violations`, and changes of one entry.
//!
//! A change is made by reading the whole document, changing it here and sending it back with the version it was read
//! at, so that somebody else's change is never undone by accident.

mod check;
mod edit;

use std::fs;

use serde_json::Value;

use crate::command::{Command, Group};
use crate::error::{Error, Result};
use crate::grammar::{Args, Flag, Positional};
use crate::json::Json;
use crate::session::Session;
use crate::table::Table;

const PATH: &str = "/slipway/v1/registry";

pub const COMMANDS: &[Command] = &[Command {
    name: "registry",
    alias: "",
    summary: "Check an image, and say which registries and images the platform uses (admins)",
    usage: "registry check IMAGE [--username USERNAME]\n\
            registry settings\n\
            registry set FILE\n\
            registry violations\n\
            registry allow RULE [--remove]\n\
            registry deny RULE [--remove]\n\
            registry redirect HOST [--remove]\n\
            registry mirror REGISTRY MIRROR [--no-fallback] [--remove]\n\
            registry insecure HOST:PORT [--remove]\n\
            registry trust-ca FILE [--remove]\n\
            registry allow-address CIDR [--remove]\n\
            registry deny-address CIDR [--remove]\n\
            registry default HOST [--remove]\n\
            registry root-user allow|refuse",
    group: Group::Platform,
    positionals: &[
        Positional::Required("ACTION"),
        Positional::Optional,
        Positional::Optional,
    ],
    flags: &[
        Flag::text(
            "username",
            "",
            "Check as this user of the registry; the password is asked for, or taken from CF_DOCKER_PASSWORD",
        ),
        Flag::switch("remove", "", "Take the entry out instead of adding it"),
        Flag::switch(
            "no-fallback",
            "",
            "Never ask the registry itself when the mirror fails",
        ),
    ],
    run: |session, args| Box::pin(run(session, args)),
}];

async fn run(session: &Session, args: &Args) -> Result<()> {
    let action = args.at(0);
    match action {
        "check" => check::check(session, one(args, "IMAGE")?, args.value("username")).await,
        "settings" => {
            none(args)?;
            settings(session).await
        }
        "set" => set(session, one(args, "FILE")?).await,
        "violations" => {
            none(args)?;
            violations(session).await
        }
        _ => edit::edit(session, args).await,
    }
}

/// The one argument of an action.
fn one<'a>(args: &'a Args, name: &str) -> Result<&'a str> {
    match (args.at(1), args.at(2)) {
        ("", _) => Err(Error::Usage(format!(
            "the required argument `{name}` was not provided"
        ))),
        (argument, "") => Ok(argument),
        (_, extra) => Err(Error::Usage(format!("unexpected argument \"{extra}\""))),
    }
}

fn none(args: &Args) -> Result<()> {
    match args.at(1) {
        "" => Ok(()),
        extra => Err(Error::Usage(format!("unexpected argument \"{extra}\""))),
    }
}

/// The stored document as it was read.
struct Stored {
    version: i64,
    document: Value,
    options: Value,
}

impl Stored {
    async fn read(session: &Session) -> Result<Self> {
        let reply = session.api.get(PATH, &[]).await?;
        Ok(Self {
            version: reply.number("/version"),
            document: reply["settings"].clone(),
            options: reply["options"].clone(),
        })
    }

    /// Sends the changed document; gives its version.
    async fn write(&self, session: &Session, document: &Value) -> Result<i64> {
        let headers = [("If-Match".to_owned(), self.version.to_string())];
        let reply = session.api.put(PATH, &headers, document).await?;
        Ok(reply.json()?.number("/version"))
    }
}

async fn settings(session: &Session) -> Result<()> {
    session.user()?;
    let stored = Stored::read(session).await?;
    let ui = &session.ui;
    ui.line(&format!("# version {}", stored.version));
    ui.line(yaml(&stored.document)?.trim_end());
    let options = filled(&stored.options);
    if options.as_object().is_some_and(|entries| !entries.is_empty()) {
        ui.line("\n# from the options of the platform; what is above adds to it");
        for line in yaml(&options)?.trim_end().lines() {
            ui.line(&format!("# {line}"));
        }
    }
    Ok(())
}

/// The document without what says nothing.
fn filled(document: &Value) -> Value {
    let entries = document.as_object().into_iter().flatten();
    let entries = entries
        .map(|(name, value)| {
            (
                name,
                if value.is_object() {
                    filled(value)
                } else {
                    value.clone()
                },
            )
        })
        .filter(|(_, value)| match value {
            Value::Null => false,
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            _ => true,
        });
    entries.map(|(name, value)| (name.clone(), value)).collect()
}

fn yaml(document: &Value) -> Result<String> {
    serde_saphyr::to_string(document)
        .map_err(|error| Error::message(format!("the settings cannot be shown as YAML: {error}")))
}

async fn set(session: &Session, file: &str) -> Result<()> {
    let (ui, user) = (&session.ui, session.user()?);
    let path = session.directory.join(file);
    let text = fs::read_to_string(&path)
        .map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
    // JSON is YAML too. Only comments is the empty document.
    let document: Option<Value> = serde_saphyr::from_str(&text)
        .map_err(|error| Error::message(format!("{} is neither YAML nor JSON: {error}", path.display())))?;
    let document = document.unwrap_or_else(|| serde_json::json!({}));
    ui.line(&format!(
        "Setting registry settings from {} as {}...",
        ui.name(file),
        ui.name(&user)
    ));
    let version = Stored::read(session).await?.write(session, &document).await?;
    done(session, version);
    Ok(())
}

fn done(session: &Session, version: i64) {
    session.ui.ok();
    session.ui.line(&format!(
        "The settings are at version {version} and in force for every push and fetch from now on; running apps go on."
    ));
}

async fn violations(session: &Session) -> Result<()> {
    let (ui, user) = (&session.ui, session.user()?);
    ui.line(&format!(
        "Getting apps whose images are refused as {}...\n",
        ui.name(&user)
    ));
    let report = session.api.get(&format!("{PATH}/violations"), &[]).await?;
    let violations = report.items("/violations");
    if violations.is_empty() {
        ui.line("The image of every app is allowed.");
        return Ok(());
    }
    let mut table = Table::with_header(&["org", "space", "app", "state", "image", "refused because"]);
    for violation in violations {
        table.row([
            violation.text("/organization/name"),
            violation.text("/space/name"),
            violation.text("/app/name"),
            &violation.text("/app/state").to_lowercase(),
            violation.text("/image"),
            violation.text("/rule"),
        ]);
    }
    table.print(ui);
    ui.line("\nThey run on as they are; their next push, or a start where a layer is missing, fails.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::filled;
    use serde_json::json;

    #[test]
    fn what_says_nothing_is_left_out() {
        let document = json!({
            "default_registry": null, "insecure": ["x:1"], "deny": [], "addresses": {"allow": [], "deny": []},
            "allow_root_user": false,
        });
        assert_eq!(
            filled(&document),
            json!({"insecure": ["x:1"], "allow_root_user": false})
        );
    }
}
