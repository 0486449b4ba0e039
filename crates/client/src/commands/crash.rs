//! After a failed start: why, and the app's last words. What can be found out is shown; what cannot is left out, since
//! the start has failed already.

use serde_json::Value;

use crate::commands::instance::Outcome;
use crate::commands::logs;
use crate::error::Error;
use crate::session::Session;

/// How many of the last lines are shown.
const LINES: usize = 15;
/// Of how many lines the last ones are chosen; those of the router and the API are left out.
const READ: usize = 200;

/// Prints the exit reason and the last log lines of an app that did not start.
pub async fn report(session: &Session, app: &str) {
    let ui = &session.ui;
    let crashes = [
        ("target_guids", app),
        ("types", "audit.app.process.crash,app.crash"),
        ("order_by", "-created_at"),
    ];
    if let Ok(Some(event)) = session.first("/v3/audit_events", &crashes).await {
        ui.line(&ui.red(&reason(&event)));
    }
    let Ok(lines) = session.api.recent_logs(app, READ).await else {
        return;
    };
    let said: Vec<_> = lines
        .iter()
        .filter(|line| !matches!(line.source.as_str(), "RTR" | "API" | "STG"))
        .collect();
    if said.is_empty() {
        return;
    }
    ui.line("Last log lines:");
    for line in said.iter().skip(said.len().saturating_sub(LINES)) {
        logs::print(session, line);
    }
    ui.line("");
}

fn reason(event: &Value) -> String {
    let data = |key: &str| match event.pointer(&format!("/data/{key}")) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let mut text = format!("Instance {} crashed", data("index"));
    let why = [data("exit_description"), data("reason")]
        .into_iter()
        .find(|why| !why.is_empty());
    if let Some(why) = why {
        text.push_str(&format!(": {why}"));
    }
    match data("exit_status") {
        status if status.is_empty() => text,
        status => format!("{text} (exit status {status})"),
    }
}

/// The error that ends a command whose app did not start; none when it did.
pub fn verdict(session: &Session, app: &str, outcome: Outcome) -> Option<Error> {
    let program = &session.program;
    match outcome {
        Outcome::Running => None,
        Outcome::Crashed => Some(Error::Message(format!(
            "Start unsuccessful\n\nTIP: use '{program} logs {app} --recent' for more information"
        ))),
        Outcome::TimedOut => Some(Error::Message(format!(
            "Start app timeout\n\nTIP: Application must be listening on the right port. Instead of hard coding the \
             port, use the $PORT environment variable.\n\nUse '{program} logs {app} --recent' for more information"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reasons_say_what_is_known() {
        let full = json!({"data": {"index": 1, "exit_description": "APP/PROC/WEB: Exited with status 3", "exit_status": 3}});
        assert_eq!(
            reason(&full),
            "Instance 1 crashed: APP/PROC/WEB: Exited with status 3 (exit status 3)"
        );
        assert_eq!(
            reason(&json!({"data": {"index": 0, "reason": "CRASHED"}})),
            "Instance 0 crashed: CRASHED"
        );
    }
}
