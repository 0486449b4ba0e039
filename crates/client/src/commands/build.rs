//! Staging: turning a package into a droplet while showing what the platform says about it; `restage`.

use serde_json::json;

use crate::command::{Command, Group};
use crate::commands::deployment::{self, Plan};
use crate::commands::instance::Until;
use crate::commands::progress::{About, Lines};
use crate::commands::start::{self, Launch};
use crate::error::{Error, Result};
use crate::grammar::{Args, Flag, Positional};
use crate::json::Json;
use crate::pace::Pace;
use crate::session::Session;

pub const COMMANDS: &[Command] = &[Command {
    name: "restage",
    alias: "rg",
    summary: "Stage the app's latest package again and restart the app with the result",
    usage: "restage APP_NAME [--strategy (rolling | canary)] [--max-in-flight N] [--no-wait]",
    group: Group::Apps,
    positionals: &[Positional::Required("APP_NAME")],
    flags: &[
        deployment::STRATEGY,
        deployment::MAX_IN_FLIGHT,
        Flag::switch(
            "no-wait",
            "",
            "Exit when the first instance of the web process is healthy",
        ),
    ],
    run: |session, args| Box::pin(restage(session, args)),
}];

async fn restage(session: &Session, args: &Args) -> Result<()> {
    let (ui, target, name) = (&session.ui, session.target()?, args.at(0));
    let plan = Plan::of(args)?;
    if plan.is_none() {
        ui.warn("This action will cause app downtime.");
    }
    ui.line("");
    session.announce("Restaging app", name, &target);
    let app = session.app(name, &target.space.guid).await?;
    let ready = [
        ("app_guids", app.guid()),
        ("states", "READY"),
        ("order_by", "-created_at"),
    ];
    let package = session.first("/v3/packages", &ready).await?.ok_or_else(|| {
        Error::Message(format!(
            "App '{name}' has no eligible packages.\n\nTIP: Use '{} push {name}' to make one.",
            session.program
        ))
    })?;
    let droplet = stage(session, app.guid(), package.guid()).await?;
    ui.line("");
    let until = if args.has("no-wait") {
        Until::Web
    } else {
        Until::Every
    };
    let launch = Launch {
        app: &app,
        target: &target,
        droplet: &droplet,
        until,
    };
    match plan {
        Some(plan) => deployment::deploy(session, launch, &plan).await,
        None => start::launch(session, launch).await,
    }
}

/// Stages a package and shows the stager's lines; the droplet's GUID.
///
/// # Errors
/// The stager's own words when it failed.
pub async fn stage(session: &Session, app: &str, package: &str) -> Result<String> {
    let ui = &session.ui;
    ui.line("Staging app and tracing logs...");
    let mut lines = Lines::open(&session.api, ui, app, About::Staging).await;
    let build = session
        .api
        .post("/v3/builds", &json!({ "package": { "guid": package } }))
        .await?
        .json()?;
    ui.waiting_quietly("Staging...");
    let polling = finished(session, build.guid());
    tokio::pin!(polling);
    let outcome = loop {
        // Cancel-safe: a dropped round keeps what it has read, and `polling` is never dropped before its end.
        tokio::select! {
            biased;
            outcome = &mut polling => break outcome,
            () = lines.round() => {}
        }
    };
    lines.rest().await;
    ui.calm();
    outcome
}

async fn finished(session: &Session, build: &str) -> Result<String> {
    let path = format!("/v3/builds/{build}");
    let mut pace = Pace::within(session.staging_timeout);
    loop {
        let build = session.api.get(&path, &[]).await?;
        match build.text("/state") {
            "STAGED" => return Ok(build.text("/droplet/guid").to_owned()),
            "FAILED" => {
                let error = build.text("/error");
                return Err(Error::message(if error.is_empty() {
                    "Staging failed without a reason"
                } else {
                    error
                }));
            }
            _ if pace.pause().await => {}
            _ => {
                let minutes = session.staging_timeout.as_secs_f64() / 60.0;
                return Err(Error::Message(format!(
                    "Error staging application: timed out after {minutes} minute(s)"
                )));
            }
        }
    }
}
