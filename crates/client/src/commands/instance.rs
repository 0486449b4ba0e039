//! Instances: waiting until they run, and the table that shows them.

use serde_json::Value;

use crate::commands::progress::{About, Lines};
use crate::error::Result;
use crate::json::Json;
use crate::pace::Pace;
use crate::session::Session;
use crate::table::Table;
use crate::{time, units};

/// Which processes must run before a command is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Every process has a running instance.
    Every,
    /// The `web` process has one.
    Web,
}

/// How a start ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As wished.
    Running,
    /// All instances of a process crashed.
    Crashed,
    /// Time ran out.
    TimedOut,
}

/// What one look at a process shows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    Stable,
    Crashed,
    Waiting(String),
}

/// Waits until an app runs, saying what it waits for.
///
/// # Errors
/// Those of the API.
pub async fn wait(session: &Session, app: &str, until: Until) -> Result<Outcome> {
    let mut lines = Lines::open(&session.api, &session.ui, app, About::Fetching).await;
    // Cancel-safe: lines that were not shown are no loss.
    let outcome = tokio::select! {
        biased;
        outcome = watch(session, app, until) => outcome,
        () = lines.follow() => Ok(Outcome::TimedOut),
    };
    session.ui.calm();
    session.ui.line("");
    outcome
}

async fn watch(session: &Session, app: &str, until: Until) -> Result<Outcome> {
    let processes = session
        .api
        .list(&format!("/v3/apps/{app}/processes"), &[])
        .await?;
    let mut pace = Pace::within(session.startup_timeout);
    let mut said = String::new();
    for process in processes
        .iter()
        .filter(|process| until == Until::Every || process.text("/type") == "web")
    {
        loop {
            let stats = session
                .api
                .get(&format!("/v3/processes/{}/stats", process.guid()), &[])
                .await?;
            match look(stats.items("/resources")) {
                Look::Stable => break,
                Look::Crashed => return Ok(Outcome::Crashed),
                Look::Waiting(text) => {
                    if text != said {
                        session.ui.waiting(&text);
                        said = text;
                    }
                    if !pace.pause().await {
                        return Ok(Outcome::TimedOut);
                    }
                }
            }
        }
    }
    Ok(Outcome::Running)
}

/// No instances or one that runs is stable; only crashed ones is an end; anything else takes time.
fn look(instances: &[Value]) -> Look {
    let in_state = |state: &str| {
        instances
            .iter()
            .filter(|instance| instance.text("/state") == state)
            .count()
    };
    if instances.is_empty() || in_state("RUNNING") > 0 {
        return Look::Stable;
    }
    if in_state("CRASHED") == instances.len() {
        return Look::Crashed;
    }
    match instances
        .iter()
        .map(|instance| instance.text("/details"))
        .find(|details| !details.is_empty())
    {
        Some(details) => Look::Waiting(format!("Error starting instances: '{details}'")),
        None => Look::Waiting("Instances starting...".to_owned()),
    }
}

/// "running/all" of some instances.
pub fn ratio(instances: &[Value]) -> String {
    let running = instances
        .iter()
        .filter(|instance| instance.text("/state") == "RUNNING")
        .count();
    format!("{running}/{}", instances.len())
}

/// The table of a process's instances.
pub fn table(session: &Session, instances: &[Value]) -> Table {
    let mut table = Table::with_header(&[
        "",
        "state",
        "since",
        "cpu",
        "memory",
        "disk",
        "logging",
        "cpu entitlement",
        "details",
        "ready",
    ]);
    let now = session.now();
    for instance in instances {
        let percent = |pointer: &str| {
            instance
                .float(pointer)
                .map(|share| format!("{:.1}%", share * 100.0))
        };
        let usage = |used: &str, quota: &str| {
            format!(
                "{} of {}",
                units::size(instance.number(used)),
                units::size(instance.number(quota))
            )
        };
        let rate = units::size(instance.number("/usage/log_rate"));
        table.row([
            format!("#{}", instance.number("/index")),
            instance.text("/state").to_lowercase(),
            time::since(now, instance.number("/uptime")),
            percent("/usage/cpu").unwrap_or_else(|| "0.0%".to_owned()),
            usage("/usage/mem", "/mem_quota"),
            usage("/usage/disk", "/disk_quota"),
            format!(
                "{rate}/s of {}",
                units::rate_limit(instance.number("/log_rate_limit"))
            ),
            percent("/usage/cpu_entitlement").unwrap_or_default(),
            instance.text("/details").to_owned(),
            instance
                .truth("/routable")
                .map_or("-".to_owned(), |ready| ready.to_string()),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_look_tells_what_to_do() {
        let of = |states: &[&str]| {
            states
                .iter()
                .map(|state| json!({ "state": state }))
                .collect::<Vec<_>>()
        };
        assert_eq!(look(&[]), Look::Stable);
        assert_eq!(look(&of(&["STARTING", "RUNNING"])), Look::Stable);
        assert_eq!(look(&of(&["CRASHED", "CRASHED"])), Look::Crashed);
        assert_eq!(
            look(&of(&["CRASHED", "STARTING"])),
            Look::Waiting("Instances starting...".into())
        );
        let stuck = [json!({"state": "DOWN", "details": "no room"})];
        assert_eq!(
            look(&stuck),
            Look::Waiting("Error starting instances: 'no room'".into())
        );
        assert_eq!(ratio(&of(&["RUNNING", "DOWN"])), "1/2");
    }
}
