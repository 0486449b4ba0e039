//! `target`: which org and space commands are about.

use serde_json::Value;

use crate::command::{Command, Group};
use crate::config::Named;
use crate::error::{Error, Result};
use crate::grammar::{Args, Flag};
use crate::json::Json;
use crate::session::Session;
use crate::table::Table;

pub const COMMANDS: &[Command] = &[Command {
    name: "target",
    alias: "t",
    summary: "Set or view the targeted org or space",
    usage: "target [-o ORG] [-s SPACE]",
    group: Group::GettingStarted,
    positionals: &[],
    flags: &[Flag::text("", "o", "Organization"), Flag::text("", "s", "Space")],
    run: |session, args| Box::pin(target(session, args)),
}];

async fn target(session: &Session, args: &Args) -> Result<()> {
    session.user()?;
    let outcome = retarget(session, args.text("o"), args.text("s")).await;
    if outcome.is_err() {
        // What was asked for is not there; what was targeted before is no longer wanted.
        session.api.update(|config| {
            config.org = if args.has("o") { None } else { config.org.take() };
            config.space = None;
        })?;
        return outcome;
    }
    show(session);
    Ok(())
}

async fn retarget(session: &Session, org: &str, space: &str) -> Result<()> {
    if !org.is_empty() {
        let org = session.org_named(org).await?;
        set_org(session, &org)?;
        if space.is_empty() {
            let spaces = spaces(session, org.guid()).await?;
            if let [only] = spaces.as_slice() {
                set_space(session, only)?;
            }
        }
    }
    if !space.is_empty() {
        let (org, _) = session.org()?;
        set_space(session, &session.space_named(space, &org.guid).await?)?;
    }
    Ok(())
}

/// After a login: targets the named org and space, or the only ones, or those the user chooses.
pub async fn choose(session: &Session, org: &str, space: &str) -> Result<()> {
    let ui = &session.ui;
    let Some(org) = choose_org(session, org, space).await? else {
        return Ok(());
    };
    set_org(session, &org)?;
    ui.line(&format!("Targeted org {}.\n", ui.name(org.name())));
    let space = if space.is_empty() {
        let spaces = spaces(session, org.guid()).await?;
        pick(session, "Space", spaces)?
    } else {
        Some(session.space_named(space, org.guid()).await?)
    };
    if let Some(space) = space {
        set_space(session, &space)?;
        ui.line(&format!("Targeted space {}.\n", ui.name(space.name())));
    }
    Ok(())
}

async fn choose_org(session: &Session, org: &str, space: &str) -> Result<Option<Value>> {
    if !org.is_empty() {
        return session.org_named(org).await.map(Some);
    }
    let orgs = session
        .api
        .list("/v3/organizations", &[("order_by", "name")])
        .await?;
    if space.is_empty() {
        return pick(session, "Org", orgs);
    }
    let mut holding = Vec::new();
    for org in orgs {
        match session.space_named(space, org.guid()).await {
            Ok(_) => holding.push(org),
            Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    if holding.is_empty() {
        return Err(Error::NotFound(format!("Space '{space}' not found.")));
    }
    pick(session, "Org", holding)
}

/// The only one, or the one the user wants.
fn pick(session: &Session, label: &str, mut all: Vec<Value>) -> Result<Option<Value>> {
    if all.len() < 2 {
        return Ok(all.pop());
    }
    let names: Vec<&str> = all.iter().map(Json::name).collect();
    let chosen = session.ui.choose(label, &names)?.map(str::to_owned);
    Ok(all.into_iter().find(|one| chosen.as_deref() == Some(one.name())))
}

async fn spaces(session: &Session, org: &str) -> Result<Vec<Value>> {
    session
        .api
        .list("/v3/spaces", &[("organization_guids", org), ("order_by", "name")])
        .await
}

fn set_org(session: &Session, org: &Value) -> Result<()> {
    session.api.update(|config| {
        config.org = Some(named(org));
        config.space = None;
    })
}

fn set_space(session: &Session, space: &Value) -> Result<()> {
    session.api.update(|config| config.space = Some(named(space)))
}

fn named(value: &Value) -> Named {
    Named {
        guid: value.guid().to_owned(),
        name: value.name().to_owned(),
    }
}

/// The table of what is targeted.
pub fn show(session: &Session) {
    let (ui, config, program) = (&session.ui, session.api.config(), &session.program);
    let mut table = Table::of_pairs();
    table.pair("API endpoint:", config.api.as_str());
    table.pair("API version:", config.api_version.as_str());
    if !config.is_logged_in() {
        table.print(ui);
        ui.line(&format!(
            "Not logged in. Use '{program} login' or '{program} auth' to log in."
        ));
        return;
    }
    table.pair(
        "user:",
        session
            .claims()
            .map(|claims| claims.owner().to_owned())
            .unwrap_or_default(),
    );
    if let Some(org) = &config.org {
        table.pair("org:", org.name.as_str());
    }
    if let Some(space) = &config.space {
        table.pair("space:", space.name.as_str());
    }
    table.print(ui);
    match (&config.org, &config.space) {
        (None, _) => ui.line(&format!(
            "No org or space targeted, use '{program} target -o ORG -s SPACE'"
        )),
        (_, None) => ui.line(&format!("No space targeted, use '{program} target -s SPACE'")),
        _ => {}
    }
}
