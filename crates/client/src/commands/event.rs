//! `events`: what happened to an app.

use serde_json::Value;

use crate::command::{Command, Group};
use crate::error::Result;
use crate::grammar::{Args, Positional};
use crate::json::Json;
use crate::session::Session;
use crate::table::Table;
use crate::time;

/// The parts of an event that are shown, in this order.
const SHOWN: [&str; 13] = [
    "index",
    "reason",
    "cell_id",
    "instance",
    "exit_description",
    "exit_status",
    "recursive",
    "disk_quota",
    "instances",
    "memory",
    "state",
    "command",
    "environment_json",
];

pub const COMMANDS: &[Command] = &[Command {
    name: "events",
    alias: "",
    summary: "Show recent app events",
    usage: "events APP_NAME",
    group: Group::Apps,
    positionals: &[Positional::Required("APP_NAME")],
    flags: &[],
    run: |session, args| Box::pin(events(session, args)),
}];

async fn events(session: &Session, args: &Args) -> Result<()> {
    let (ui, target) = (&session.ui, session.target()?);
    session.announce("Getting events for app", args.at(0), &target);
    let app = session.app(args.at(0), &target.space.guid).await?;
    let query = [
        ("target_guids", app.guid()),
        ("order_by", "-created_at"),
        ("page", "1"),
    ];
    let events = session.api.page("/v3/audit_events", &query).await?;
    if events.is_empty() {
        ui.line("No events found.");
        return Ok(());
    }
    let mut table = Table::with_header(&["time", "event", "actor", "description"]);
    for event in &events {
        let created = event.text("/created_at");
        let created = time::parse(created).map_or(created.to_owned(), |at| time::stamp(at, &session.zone));
        table.row([
            created.as_str(),
            event.text("/type"),
            event.text("/actor/name"),
            &description(event),
        ]);
    }
    table.print(ui);
    Ok(())
}

fn description(event: &Value) -> String {
    let request = event
        .pointer("/data/request")
        .filter(|request| request.is_object());
    let Some(data) = request.or_else(|| event.get("data")) else {
        return String::new();
    };
    let part = |key: &&str| match data.get(*key)? {
        Value::Null => None,
        Value::String(text) => Some(format!("{key}: {text}")),
        other => Some(format!("{key}: {other}")),
    };
    SHOWN.iter().filter_map(part).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn descriptions_hold_what_is_known_in_order() {
        let crash =
            json!({"data": {"reason": "CRASHED", "index": 0, "exit_status": 1, "other": "x", "state": null}});
        assert_eq!(description(&crash), "index: 0, reason: CRASHED, exit_status: 1");
        let update = json!({"data": {"request": {"instances": 2, "recursive": true}}});
        assert_eq!(description(&update), "recursive: true, instances: 2");
        assert_eq!(description(&json!({})), "");
    }
}
