//! `logs`: what an app says, now or a moment ago.

use std::time::Duration;

use crate::api::{Envelope, Stream, Tail};
use crate::command::{Command, Group};
use crate::error::{Error, Result};
use crate::grammar::{Args, Flag, Positional};
use crate::json::Json;
use crate::session::Session;
use crate::time;

/// How often new lines are asked for.
const ROUND: Duration = Duration::from_millis(250);
/// How many failures in a row end the command; at one a second.
const PATIENCE: u32 = 30;
/// How many lines `--recent` shows.
const RECENT: usize = 1000;
/// How far back following starts, as in `cf`.
const BACK_NANOS: i64 = 1_000_000_000;

pub const COMMANDS: &[Command] = &[Command {
    name: "logs",
    alias: "",
    summary: "Tail or show recent logs for an app",
    usage: "logs APP_NAME [--recent]",
    group: Group::Apps,
    positionals: &[Positional::Required("APP_NAME")],
    flags: &[Flag::switch("recent", "", "Dump recent logs instead of tailing")],
    run: |session, args| Box::pin(logs(session, args)),
}];

async fn logs(session: &Session, args: &Args) -> Result<()> {
    let target = session.target()?;
    session.announce("Retrieving logs for app", args.at(0), &target);
    let app = session.app(args.at(0), &target.space.guid).await?;
    if args.has("recent") {
        let lines = session
            .api
            .recent_logs(app.guid(), RECENT)
            .await
            .map_err(|error| Error::Message(format!("Failed to retrieve logs from Log Cache: {error}")))?;
        lines.iter().for_each(|line| print(session, line));
        return Ok(());
    }
    // Cancel-safe: after an interrupt nothing more is shown.
    tokio::select! {
        outcome = follow(session, app.guid()) => outcome,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// Follows until nobody listens any more, or Log Cache stays away.
async fn follow(session: &Session, app: &str) -> Result<()> {
    let mut tail = None;
    let mut failures = 0;
    while !session.ui.is_deaf() {
        let lines = match &mut tail {
            None => Tail::open(&session.api, app, Some(BACK_NANOS))
                .await
                .map(|opened| {
                    tail = Some(opened);
                    Vec::new()
                }),
            Some(tail) => tail.next(&session.api).await,
        };
        match lines {
            Ok(lines) => {
                failures = 0;
                lines.iter().for_each(|line| print(session, line));
                session.ui.flush();
                tokio::time::sleep(ROUND).await;
            }
            Err(error) => {
                failures += 1;
                let text = format!("Failed to retrieve logs from Log Cache: {error}");
                if failures >= PATIENCE {
                    return Err(Error::Message(text));
                }
                if failures == 1 {
                    session.ui.warn(&text);
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
    Ok(())
}

/// Prints a line: `   2006-01-02T15:04:05.00-0700 [APP/PROC/WEB/0] OUT text`, in red if it is an error.
pub fn print(session: &Session, line: &Envelope) {
    let stream = if line.stream == Stream::Err { "ERR" } else { "OUT" };
    let stamp = time::stamp(line.time(), &session.zone);
    for text in line.text.split('\n') {
        let text = format!(
            "{stamp} [{}/{}] {stream} {}",
            line.source,
            line.instance,
            text.trim_end_matches('\r')
        );
        let text = if line.stream == Stream::Err {
            session.ui.red(&text)
        } else {
            text
        };
        session.ui.line(&format!("   {text}"));
    }
}
