//! `registry check`: fetching an image, step by step, with what to do about the step that fails.

use serde_json::{Value, json};

use crate::Secret;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::session::Session;
use crate::table::Table;
use crate::ui::Ui;

pub(super) async fn check(session: &Session, image: &str, username: Option<&str>) -> Result<()> {
    let (ui, user) = (&session.ui, session.user()?);
    let mut body = json!({ "image": image });
    if let Some(username) = username {
        let password = password(session)?;
        body["username"] = username.into();
        body["password"] = password.reveal().into();
    }
    ui.line(&format!(
        "Checking image {} as {}...\n",
        ui.name(image),
        ui.name(&user)
    ));
    let reply = session
        .api
        .post("/slipway/v1/registry/check", &body)
        .await?
        .json()?;
    print(ui, reply.items("/steps"));
    match reply
        .items("/steps")
        .iter()
        .find(|step| step.text("/outcome") == "failed")
    {
        None => {
            ui.line(&format!("\nThe platform can fetch {image}."));
            Ok(())
        }
        Some(step) => Err(Error::message(format!(
            "\nThe platform cannot fetch {image}: step '{}' failed.",
            step.name()
        ))),
    }
}

fn password(session: &Session) -> Result<Secret> {
    if !session.docker_password.is_empty() {
        return Ok(session.docker_password.clone());
    }
    session
        .ui
        .line("Environment variable CF_DOCKER_PASSWORD not set.");
    session.ui.prompt_password("Docker password")
}

fn print(ui: &Ui, steps: &[Value]) {
    let mut table = Table::default();
    for step in steps {
        let mark = match step.text("/outcome") {
            "ok" => ui.green("✓"),
            "failed" => ui.red("✗"),
            _ => "–".to_owned(),
        };
        let time = match step.text("/outcome") {
            "ok" | "failed" => format!("{} ms", step.number("/ms")),
            _ => String::new(),
        };
        let mut lines = step.text("/detail").lines();
        let first = lines.next().unwrap_or_default();
        table.row([mark.as_str(), step.name(), &time, first]);
        for line in lines {
            table.row(["", "", "", line]);
        }
    }
    table.print(ui);
}
