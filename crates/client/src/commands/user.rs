//! Users: `create-user`, `delete-user`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::Secret;
use crate::api::Body;
use crate::command::{Command, Group};
use crate::error::{Error, Result};
use crate::grammar::{Args, Flag, Positional};
use crate::json::Json;
use crate::session::Session;

const ORIGIN: Flag = Flag::text("origin", "", "Identity provider of the user");

pub const COMMANDS: &[Command] = &[
    Command {
        name: "create-user",
        alias: "",
        summary: "Create a new user",
        usage: "create-user USERNAME PASSWORD\ncreate-user USERNAME --password-prompt\ncreate-user USERNAME --origin ORIGIN",
        group: Group::Users,
        positionals: &[Positional::Required("USERNAME"), Positional::Optional],
        flags: &[
            ORIGIN,
            Flag::switch("password-prompt", "", "Prompt interactively for password"),
        ],
        run: |session, args| Box::pin(create(session, args)),
    },
    Command {
        name: "delete-user",
        alias: "",
        summary: "Delete a user",
        usage: "delete-user USERNAME [-f] [--origin ORIGIN]",
        group: Group::Users,
        positionals: &[Positional::Required("USERNAME")],
        flags: &[
            ORIGIN,
            Flag::switch("", "f", "Force deletion without confirmation"),
        ],
        run: |session, args| Box::pin(delete(session, args)),
    },
];

async fn create(session: &Session, args: &Args) -> Result<()> {
    session.user()?;
    let (ui, name, origin) = (&session.ui, args.at(0), args.text("origin"));
    let external = !matches!(origin, "" | "uaa");
    if args.at(1).is_empty() && !external && !args.has("password-prompt") {
        return Err(Error::Usage(
            "the required argument `PASSWORD` was not provided".into(),
        ));
    }
    let password = match args.has("password-prompt") {
        true => ui.prompt_password("Password")?,
        false => Secret::new(args.at(1)),
    };
    ui.line(&format!("Creating user {}...", ui.name(name)));
    let exists = || {
        ui.warn(&format!("User '{name}' already exists."));
        ui.ok();
    };
    if !accounts(session, name, origin).await?.is_empty() {
        exists();
        return Ok(());
    }
    let body = json!({
        "userName": name, "password": password.reveal(), "origin": origin,
        "name": { "familyName": name, "givenName": name }, "emails": [{ "value": name, "primary": true }],
    });
    let account = match session
        .api
        .directory(Method::POST, "/Users", Body::Json(&body))
        .await
    {
        Err(Error::Login { status: 409, .. }) => {
            exists();
            return Ok(());
        }
        outcome => outcome?,
    };
    session
        .api
        .post("/v3/users", &json!({ "guid": account.text("/id") }))
        .await?;
    ui.ok();
    let program = &session.program;
    ui.line(&format!(
        "TIP: Assign roles with '{program} set-org-role' and '{program} set-space-role'."
    ));
    Ok(())
}

async fn delete(session: &Session, args: &Args) -> Result<()> {
    let (ui, me, name) = (&session.ui, session.user()?, args.at(0));
    if !args.has("f") && !ui.confirm(&format!("Really delete the user {name}?"))? {
        ui.line(&format!("User '{name}' has not been deleted."));
        ui.ok();
        return Ok(());
    }
    ui.line(&format!("Deleting user {} as {}...", ui.name(name), ui.name(&me)));
    let found = accounts(session, name, args.text("origin")).await?;
    let account = match found.as_slice() {
        [] => {
            ui.line(&format!("User '{name}' does not exist."));
            ui.ok();
            return Ok(());
        }
        [one] => one,
        several => {
            let origins: Vec<&str> = several.iter().map(|account| account.text("/origin")).collect();
            return Err(Error::Message(format!(
                "The user '{name}' exists in multiple origins: {}. Specify an origin with --origin.",
                origins.join(", ")
            )));
        }
    };
    let guid = account.text("/id");
    match session.api.delete(&format!("/v3/users/{guid}"), &[]).await {
        Err(error) if error.is_not_found() => {}
        outcome => outcome?,
    }
    session
        .api
        .directory(Method::DELETE, &format!("/Users/{guid}"), Body::Empty)
        .await?;
    ui.ok();
    Ok(())
}

/// The accounts with a name, in one identity provider or in all.
async fn accounts(session: &Session, name: &str, origin: &str) -> Result<Vec<Value>> {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut filter = format!("userName eq \"{}\"", quoted(name));
    if !origin.is_empty() {
        filter.push_str(&format!(" and origin eq \"{}\"", quoted(origin)));
    }
    let url = reqwest::Url::parse_with_params("http://x/Users", [("filter", filter)]);
    let url = url.map_err(|error| Error::message(format!("'{name}' cannot be looked up: {error}")))?;
    let path = format!("/Users?{}", url.query().unwrap_or_default());
    let reply = session.api.directory(Method::GET, &path, Body::Empty).await?;
    Ok(reply.items("/resources").to_vec())
}
