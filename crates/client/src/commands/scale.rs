//! `scale`: how many instances, and how large.

use serde_json::{Map, Value, json};

use crate::command::{Command, Group};
use crate::commands::crash;
use crate::commands::instance::{self, Outcome, Until};
use crate::commands::summary::{self, Detail};
use crate::error::{Error, Result};
use crate::grammar::{Args, Flag, Kind, Positional};
use crate::json::Json;
use crate::session::Session;
use crate::units;

pub const COMMANDS: &[Command] = &[Command {
    name: "scale",
    alias: "",
    summary: "Change or view the instance count, memory, disk and log rate limit of an app",
    usage: "scale APP_NAME [--process PROCESS] [-i INSTANCES] [-k DISK] [-m MEMORY] [-l LOG_RATE_LIMIT] [-f]",
    group: Group::Apps,
    positionals: &[Positional::Required("APP_NAME")],
    flags: &[
        Flag::switch("force", "f", "Force restart of app without prompt"),
        Flag::value("instances", "i", Kind::Count, "Number of instances"),
        Flag::value(
            "",
            "k",
            Kind::Megabytes,
            "Disk limit (e.g. 256M, 1024M, 1G); restarts the app",
        ),
        Flag::value(
            "",
            "l",
            Kind::LogRate,
            "Log rate limit per second (e.g. 128B, 4K, 1M), -1 for unlimited; restarts",
        ),
        Flag::value(
            "",
            "m",
            Kind::Megabytes,
            "Memory limit (e.g. 256M, 1024M, 1G); restarts the app",
        ),
        Flag::text("process", "", "App process to scale, web if not given"),
    ],
    run: |session, args| Box::pin(scale(session, args)),
}];

async fn scale(session: &Session, args: &Args) -> Result<()> {
    let (ui, api, target, name) = (&session.ui, &session.api, session.target()?, args.at(0));
    let app = session.app(name, &target.space.guid).await?;
    let wishes = wishes(args)?;
    if wishes.is_empty() {
        session.announce("Showing current scale of app", name, &target);
        return summary::print(session, name, &target, Detail::Brief).await;
    }
    session.announce("Scaling app", name, &target);
    let restart = wishes.keys().any(|key| key != "instances");
    if restart && !args.has("force") {
        let question = format!("This will cause the app to restart. Are you sure you want to scale {name}?");
        if !ui.confirm(&question)? {
            ui.line("Scaling cancelled");
            return Ok(());
        }
        ui.line("");
    }
    let kind = args.value("process").unwrap_or("web");
    let path = format!("/v3/apps/{}/processes/{kind}/actions/scale", app.guid());
    api.post(&path, &Value::Object(wishes))
        .await
        .map_err(|error| match error.is_not_found() {
            true => Error::NotFound(format!("Process {kind} not found")),
            false => error,
        })?;
    if restart {
        session.announce("Stopping app", name, &target);
        api.act(&format!("/v3/apps/{}/actions/stop", app.guid())).await?;
        session.announce("Starting app", name, &target);
        api.act(&format!("/v3/apps/{}/actions/start", app.guid())).await?;
    }
    let runs = restart || app.text("/state") == "STARTED";
    let outcome = if runs {
        instance::wait(session, app.guid(), Until::Every).await?
    } else {
        Outcome::Running
    };
    session.announce("Showing current scale of app", name, &target);
    summary::print(session, name, &target, Detail::Brief).await?;
    match crash::verdict(session, name, outcome) {
        None => Ok(()),
        Some(error) => {
            ui.line("");
            crash::report(session, app.guid()).await;
            Err(error)
        }
    }
}

/// What the API is to change.
fn wishes(args: &Args) -> Result<Map<String, Value>> {
    let mut wishes = Map::new();
    if let Some(count) = args.count("instances") {
        wishes.insert("instances".into(), json!(count));
    }
    for (flag, key) in [("m", "memory_in_mb"), ("k", "disk_in_mb")] {
        if let Some(text) = args.value(flag) {
            wishes.insert(key.into(), json!(units::megabytes(text).map_err(Error::Usage)?));
        }
    }
    if let Some(text) = args.value("l") {
        wishes.insert(
            "log_rate_limit_in_bytes_per_second".into(),
            json!(units::log_rate(text).map_err(Error::Usage)?),
        );
    }
    Ok(wishes)
}
