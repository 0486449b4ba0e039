//! Deployments: replacing instances without downtime (`--strategy`), `cancel-deployment`, `continue-deployment`.

use serde_json::{Value, json};

use crate::command::{Command, Group};
use crate::commands::instance::Until;
use crate::commands::start::{self, Launch};
use crate::commands::summary::Detail;
use crate::error::{Error, Result};
use crate::grammar::{Args, Flag, Kind, Positional};
use crate::json::{Json, related};
use crate::pace::Pace;
use crate::session::Session;

const APP: &[Positional] = &[Positional::Required("APP_NAME")];

/// `--strategy`
pub const STRATEGY: Flag = Flag::value(
    "strategy",
    "",
    Kind::Strategy,
    "Deployment strategy can be canary, rolling or null",
);
/// `--max-in-flight`
pub const MAX_IN_FLIGHT: Flag = Flag::value(
    "max-in-flight",
    "",
    Kind::Positive,
    "How many instances are replaced at the same time; needs --strategy",
);

pub const COMMANDS: &[Command] = &[
    Command {
        name: "cancel-deployment",
        alias: "",
        summary: "Cancel the most recent deployment for an app",
        usage: "cancel-deployment APP_NAME",
        group: Group::Apps,
        positionals: APP,
        flags: &[],
        run: |session, args| Box::pin(cancel(session, args)),
    },
    Command {
        name: "continue-deployment",
        alias: "",
        summary: "Continue the most recent deployment for an app",
        usage: "continue-deployment APP_NAME [--no-wait]",
        group: Group::Apps,
        positionals: APP,
        flags: &[Flag::switch(
            "no-wait",
            "",
            "Exit when the first instance of the web process is healthy",
        )],
        run: |session, args| Box::pin(resume(session, args)),
    },
];

/// How a deployment goes about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    strategy: String,
    /// Sizes and numbers the new instances get, and `max_in_flight`; empty when nothing was said.
    options: serde_json::Map<String, Value>,
}

impl Plan {
    /// The plan of a command line; none without `--strategy`.
    ///
    /// # Errors
    /// When `--max-in-flight` is given without a strategy.
    pub fn of(args: &Args) -> Result<Option<Self>> {
        let strategy = args.text("strategy");
        if matches!(strategy, "" | "null") {
            return match args.has("max-in-flight") {
                true => Err(Error::Usage(
                    "'--max-in-flight' and '--strategy' must be used together.".into(),
                )),
                false => Ok(None),
            };
        }
        let mut plan = Self {
            strategy: strategy.to_owned(),
            options: serde_json::Map::new(),
        };
        if let Some(count) = args.count("max-in-flight") {
            plan.set("max_in_flight", json!(count));
        }
        Ok(Some(plan))
    }

    /// Sets an option.
    pub fn set(&mut self, option: &str, value: Value) {
        self.options.insert(option.to_owned(), value);
    }

    fn body(&self, app: &str, droplet: &str) -> Value {
        let mut body = json!({ "strategy": self.strategy, "relationships": { "app": related(app) } });
        if let Some(map) = body.as_object_mut() {
            if !droplet.is_empty() {
                map.insert("droplet".into(), json!({ "guid": droplet }));
            }
            if !self.options.is_empty() {
                map.insert("options".into(), Value::Object(self.options.clone()));
            }
        }
        body
    }
}

/// Replaces the instances of an app and waits; ends with the summary.
///
/// # Errors
/// Those of the API, and when the deployment does not get through.
pub async fn deploy(session: &Session, launch: Launch<'_>, plan: &Plan) -> Result<()> {
    let name = launch.app.name();
    session.ui.line(&format!(
        "Starting deployment for app {}...",
        session.ui.name(name)
    ));
    let body = plan.body(launch.app.guid(), launch.droplet);
    let deployment = session.api.post("/v3/deployments", &body).await?.json()?;
    await_end(session, deployment.guid(), &launch, Detail::Brief).await
}

/// Waits for a deployment, then for its instances.
async fn await_end(session: &Session, guid: &str, launch: &Launch<'_>, detail: Detail) -> Result<()> {
    session.ui.line("Waiting for app to deploy...\n");
    let outcome = processed(session, guid, launch).await;
    session.ui.calm();
    outcome?;
    start::conclude(session, launch, detail).await
}

async fn processed(session: &Session, guid: &str, launch: &Launch<'_>) -> Result<()> {
    let path = format!("/v3/deployments/{guid}");
    let mut pace = Pace::within(session.startup_timeout);
    let mut said = String::new();
    loop {
        let deployment = session.api.get(&path, &[]).await?;
        match (
            deployment.text("/status/value"),
            deployment.text("/status/reason"),
        ) {
            ("FINALIZED", "CANCELED") => return Err(Error::message("Deployment has been canceled")),
            ("FINALIZED", "SUPERSEDED") => return Err(Error::message("Deployment has been superseded")),
            ("FINALIZED", _) | ("ACTIVE", "PAUSED") => return Ok(()),
            _ if launch.until == Until::Web => return Ok(()),
            (_, reason) => {
                let text = match deployment.text("/status/details/error") {
                    "" => format!("Deployment is {}...", reason.to_lowercase()),
                    error => format!("Error starting instances: '{error}'"),
                };
                if text != said {
                    session.ui.waiting(&text);
                    said = text;
                }
            }
        }
        if !pace.pause().await {
            session.api.act(&format!("{path}/actions/cancel")).await?;
            let timed_out = super::instance::Outcome::TimedOut;
            let error = super::crash::verdict(session, launch.app.name(), timed_out);
            return Err(error.unwrap_or_else(|| Error::message("Start app timeout")));
        }
    }
}

async fn cancel(session: &Session, args: &Args) -> Result<()> {
    let (app, target) = {
        let target = session.target()?;
        (session.app(args.at(0), &target.space.guid).await?, target)
    };
    session.announce("Canceling deployment for app", args.at(0), &target);
    let active = active(session, &app).await?;
    session
        .api
        .act(&format!("/v3/deployments/{}/actions/cancel", active.guid()))
        .await?;
    session.ui.ok();
    session.ui.line(&format!(
        "TIP: Run '{} app {}' to view app status.",
        session.program,
        args.at(0)
    ));
    Ok(())
}

async fn resume(session: &Session, args: &Args) -> Result<()> {
    let target = session.target()?;
    let app = session.app(args.at(0), &target.space.guid).await?;
    session.announce("Continuing deployment for app", args.at(0), &target);
    let active = active(session, &app).await?;
    session
        .api
        .act(&format!("/v3/deployments/{}/actions/continue", active.guid()))
        .await?;
    let until = if args.has("no-wait") {
        Until::Web
    } else {
        Until::Every
    };
    let launch = Launch {
        app: &app,
        target: &target,
        droplet: "",
        until,
    };
    await_end(session, active.guid(), &launch, Detail::Brief).await
}

async fn active(session: &Session, app: &Value) -> Result<Value> {
    let query = [
        ("app_guids", app.guid()),
        ("status_values", "ACTIVE"),
        ("order_by", "-created_at"),
    ];
    let found = session.first("/v3/deployments", &query).await?;
    found.ok_or_else(|| Error::NotFound(format!("No active deployment found for app '{}'.", app.name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_sends_what_was_said() {
        let mut plan = Plan {
            strategy: "rolling".into(),
            options: serde_json::Map::new(),
        };
        let app = json!({"app": {"data": {"guid": "A"}}});
        assert_eq!(
            plan.body("A", ""),
            json!({"strategy": "rolling", "relationships": app})
        );
        plan.set("web_instances", json!(3));
        assert_eq!(
            plan.body("A", "D"),
            json!({"strategy": "rolling", "relationships": app, "droplet": {"guid": "D"}, "options": {"web_instances": 3}})
        );
    }
}
