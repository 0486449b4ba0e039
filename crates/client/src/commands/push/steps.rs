//! The steps of a push after its manifest is applied: package, droplet, start, summary.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::flags::{Extent, Flags};
use crate::Secret;
use crate::commands::build;
use crate::commands::deployment;
use crate::commands::start::{self, Launch};
use crate::commands::summary::{self, Detail};
use crate::error::{Error, Result};
use crate::json::{Json, related};
use crate::pace::Pace;
use crate::session::{Session, Target};

/// How long a package may take to become ready.
const PACKAGE_LIMIT: Duration = Duration::from_secs(15 * 60);

/// One app of a push.
pub struct Pushed<'a> {
    /// The app.
    pub app: &'a Value,
    /// Its image.
    pub image: &'a str,
    /// Who pulls it; may be empty.
    pub username: &'a str,
    /// Their password.
    pub password: &'a Secret,
}

/// Pushes one app.
///
/// # Errors
/// Those of the API, and when the app does not stage or start.
pub async fn run(session: &Session, target: &Target, flags: &Flags, pushed: Pushed<'_>) -> Result<()> {
    let (ui, app) = (&session.ui, pushed.app);
    let package = package(session, &pushed).await?;
    if flags.extent == Extent::Package {
        if app.text("/state") == "STARTED" {
            stop(session, app).await?;
        }
        ui.line("");
        return summary::print(session, app.name(), target, Detail::Full).await;
    }
    ui.line("");
    let droplet = build::stage(session, app.guid(), &package).await?;
    let Extent::Start(until) = flags.extent else {
        stop(session, app).await?;
        start::set_droplet(session, app.guid(), &droplet).await?;
        ui.line("");
        return summary::print(session, app.name(), target, Detail::Full).await;
    };
    let launch = Launch {
        app,
        target,
        droplet: &droplet,
        until,
    };
    ui.line("");
    if let Some(plan) = &flags.plan {
        return deployment::deploy(session, launch, plan).await;
    }
    start::set_droplet(session, app.guid(), &droplet).await?;
    ui.line(&format!("Waiting for app {} to start...\n", ui.name(app.name())));
    session
        .api
        .act(&format!("/v3/apps/{}/actions/restart", app.guid()))
        .await?;
    start::conclude(session, &launch, Detail::Full).await
}

async fn stop(session: &Session, app: &Value) -> Result<()> {
    session.ui.line("Stopping Application...");
    session
        .api
        .act(&format!("/v3/apps/{}/actions/stop", app.guid()))
        .await?;
    session.ui.line("Application Stopped");
    Ok(())
}

/// Makes a package of the image and waits until it is ready.
async fn package(session: &Session, pushed: &Pushed<'_>) -> Result<String> {
    let mut data = Map::from_iter([("image".to_owned(), json!(pushed.image))]);
    if !pushed.username.is_empty() {
        data.insert("username".into(), json!(pushed.username));
        data.insert("password".into(), json!(pushed.password.reveal()));
    }
    let body =
        json!({ "type": "docker", "relationships": { "app": related(pushed.app.guid()) }, "data": data });
    let mut package = session.api.post("/v3/packages", &body).await?.json()?;
    let mut pace = Pace::within(PACKAGE_LIMIT);
    loop {
        match package.text("/state") {
            "READY" => return Ok(package.guid().to_owned()),
            "FAILED" => {
                let why = package.text("/data/error");
                let text = "Package failed to process correctly after upload";
                return Err(Error::Message(if why.is_empty() {
                    text.into()
                } else {
                    format!("{text}: {why}")
                }));
            }
            "EXPIRED" => return Err(Error::message("Package expired after upload")),
            _ if pace.pause().await => {}
            state => {
                return Err(Error::Message(format!(
                    "Package is still {state}: gave up waiting for it"
                )));
            }
        }
        package = session
            .api
            .get(&format!("/v3/packages/{}", package.guid()), &[])
            .await?;
    }
}
