//! Starting and stopping: `start`, `stop`, `restart`.

use serde_json::{Value, json};

use crate::command::{Command, Group};
use crate::commands::deployment::{self, Plan};
use crate::commands::instance::{self, Until};
use crate::commands::summary::{self, Detail};
use crate::commands::{build, crash};
use crate::error::Result;
use crate::grammar::{Args, Flag, Positional};
use crate::json::Json;
use crate::session::{Session, Target};

const APP: &[Positional] = &[Positional::Required("APP_NAME")];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "start",
        alias: "st",
        summary: "Start an app",
        usage: "start APP_NAME",
        group: Group::Apps,
        positionals: APP,
        flags: &[],
        run: |session, args| Box::pin(start(session, args)),
    },
    Command {
        name: "stop",
        alias: "sp",
        summary: "Stop an app",
        usage: "stop APP_NAME",
        group: Group::Apps,
        positionals: APP,
        flags: &[],
        run: |session, args| Box::pin(stop(session, args)),
    },
    Command {
        name: "restart",
        alias: "rs",
        summary: "Stop all instances of the app, then start them again",
        usage: "restart APP_NAME [--strategy (rolling | canary)] [--max-in-flight N] [--no-wait]",
        group: Group::Apps,
        positionals: APP,
        flags: &[
            deployment::STRATEGY,
            deployment::MAX_IN_FLIGHT,
            Flag::switch(
                "no-wait",
                "",
                "Exit when the first instance of the web process is healthy",
            ),
        ],
        run: |session, args| Box::pin(restart(session, args)),
    },
];

/// Where an app's start leaves from, and what it takes along.
pub struct Launch<'a> {
    /// The app.
    pub app: &'a Value,
    /// Where it is.
    pub target: &'a Target,
    /// A droplet to run instead of the current one; may be empty.
    pub droplet: &'a str,
    /// What must run before the command is done.
    pub until: Until,
}

async fn start(session: &Session, args: &Args) -> Result<()> {
    let (ui, target) = (&session.ui, session.target()?);
    let app = session.app(args.at(0), &target.space.guid).await?;
    session.announce("Starting app", args.at(0), &target);
    if app.text("/state") == "STARTED" {
        ui.line(&format!("App '{}' is already started.", args.at(0)));
        ui.ok();
        return Ok(());
    }
    let droplet = staged(session, app.guid()).await?;
    launch(
        session,
        Launch {
            app: &app,
            target: &target,
            droplet: &droplet,
            until: Until::Every,
        },
    )
    .await
}

async fn stop(session: &Session, args: &Args) -> Result<()> {
    let (ui, target) = (&session.ui, session.target()?);
    let app = session.app(args.at(0), &target.space.guid).await?;
    if app.text("/state") == "STOPPED" {
        ui.line(&format!("App {} is already stopped.", ui.name(args.at(0))));
        ui.ok();
        return Ok(());
    }
    session.announce("Stopping app", args.at(0), &target);
    session
        .api
        .act(&format!("/v3/apps/{}/actions/stop", app.guid()))
        .await?;
    ui.ok();
    Ok(())
}

async fn restart(session: &Session, args: &Args) -> Result<()> {
    let target = session.target()?;
    let plan = Plan::of(args)?;
    let app = session.app(args.at(0), &target.space.guid).await?;
    session.announce("Restarting app", args.at(0), &target);
    let droplet = staged(session, app.guid()).await?;
    let until = if args.has("no-wait") {
        Until::Web
    } else {
        Until::Every
    };
    let launch_of = Launch {
        app: &app,
        target: &target,
        droplet: &droplet,
        until,
    };
    match plan {
        Some(plan) => deployment::deploy(session, launch_of, &plan).await,
        None => launch(session, launch_of).await,
    }
}

/// Stages the newest package if nobody has; the droplet that came out, or "".
async fn staged(session: &Session, app: &str) -> Result<String> {
    let newest = session
        .first("/v3/packages", &[("app_guids", app), ("order_by", "-created_at")])
        .await?;
    let Some(package) = newest.filter(|package| package.text("/state") == "READY") else {
        return Ok(String::new());
    };
    let droplets = format!("/v3/packages/{}/droplets", package.guid());
    if session.first(&droplets, &[("states", "STAGED")]).await?.is_some() {
        return Ok(String::new());
    }
    let droplet = build::stage(session, app, package.guid()).await?;
    session.ui.line("");
    Ok(droplet)
}

/// Stops the app if it runs, takes the droplet, starts it and waits; ends with the summary.
///
/// # Errors
/// Those of the API, and when the app does not come up.
pub async fn launch(session: &Session, launch: Launch<'_>) -> Result<()> {
    let (ui, api, guid) = (&session.ui, &session.api, launch.app.guid());
    if launch.app.text("/state") == "STARTED" {
        ui.line("Stopping app...\n");
        api.act(&format!("/v3/apps/{guid}/actions/stop")).await?;
    }
    if !launch.droplet.is_empty() {
        set_droplet(session, guid, launch.droplet).await?;
    }
    ui.line("Waiting for app to start...\n");
    api.act(&format!("/v3/apps/{guid}/actions/start")).await?;
    conclude(session, &launch, Detail::Brief).await
}

/// Makes a droplet the current one.
///
/// # Errors
/// Those of the API.
pub async fn set_droplet(session: &Session, app: &str, droplet: &str) -> Result<()> {
    let path = format!("/v3/apps/{app}/relationships/current_droplet");
    session
        .api
        .patch(&path, &json!({ "data": { "guid": droplet } }))
        .await?;
    Ok(())
}

/// Waits until the app runs and prints its summary; if it crashed, also why.
///
/// # Errors
/// Those of the API, and when the app does not come up.
pub async fn conclude(session: &Session, launch: &Launch<'_>, detail: Detail) -> Result<()> {
    let (guid, name) = (launch.app.guid(), launch.app.name());
    let outcome = instance::wait(session, guid, launch.until).await?;
    if outcome != instance::Outcome::TimedOut {
        summary::print(session, name, launch.target, detail).await?;
    }
    match crash::verdict(session, name, outcome) {
        None => Ok(()),
        Some(error) => {
            session.ui.line("");
            crash::report(session, guid).await;
            Err(error)
        }
    }
}
