//! Changes of a process: what a request may ask, checked and applied to its row. Used by the process endpoints and by
//! manifests.

use serde::Deserialize;
use store::process;

use crate::Settings;
use crate::body::Metadata;

/// Most seconds an app may ask for until its first check passes.
const MAX_START_TIMEOUT_SECS: i64 = 180;
const MAX_INSTANCES: i64 = 10_000;

/// `health_check` and `readiness_health_check` of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckChange {
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) data: CheckData,
}

/// `data` of a check; null resets to the default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CheckData {
    #[serde(deserialize_with = "crate::body::some")]
    pub(crate) timeout: Option<Option<i64>>,
    #[serde(deserialize_with = "crate::body::some")]
    pub(crate) invocation_timeout: Option<Option<i64>>,
    #[serde(deserialize_with = "crate::body::some")]
    pub(crate) interval: Option<Option<i64>>,
    #[serde(deserialize_with = "crate::body::some")]
    pub(crate) endpoint: Option<Option<String>>,
}

/// A change of a process; null resets to the default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    #[serde(default, deserialize_with = "crate::body::some")]
    pub(crate) command: Option<Option<String>>,
    #[serde(default, deserialize_with = "crate::body::some")]
    pub(crate) user: Option<Option<String>>,
    pub(crate) health_check: Option<CheckChange>,
    pub(crate) readiness_health_check: Option<CheckChange>,
    pub(crate) metadata: Option<Metadata>,
}

/// Applies a change to a row after checking it.
pub(crate) fn apply(row: &mut process::Model, change: Change) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    if let Some(command) = change.command {
        if command
            .as_ref()
            .is_some_and(|c| c.is_empty() || c.len() > 4096 || c.contains('\0'))
        {
            problems.push("Command must be between 1 and 4096 characters".to_owned());
        }
        row.command = command;
    }
    if let Some(user) = change.user {
        row.run_as = user;
    }
    if let Some(check) = change.health_check {
        liveness_change(row, check, &mut problems);
    }
    if let Some(check) = change.readiness_health_check {
        readiness_change(row, check, &mut problems);
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

fn liveness_change(row: &mut process::Model, check: CheckChange, problems: &mut Vec<String>) {
    if let Some(kind) = check.kind {
        // `none` is the old name of `process`.
        row.health_type = if kind == "none" {
            "process".to_owned()
        } else {
            kind
        };
    }
    row.health_endpoint = check.data.endpoint.unwrap_or(row.health_endpoint.take());
    row.health_timeout = check.data.timeout.unwrap_or(row.health_timeout);
    row.health_invocation_timeout = check
        .data
        .invocation_timeout
        .unwrap_or(row.health_invocation_timeout);
    row.health_interval = check.data.interval.unwrap_or(row.health_interval);
    if !["port", "process", "http"].contains(&row.health_type.as_str()) {
        problems.push("Health check type must be \"port\", \"process\", or \"http\"".to_owned());
    }
    if row.health_timeout.is_some_and(|t| t > MAX_START_TIMEOUT_SECS) {
        problems.push(format!(
            "Health check timeout must be between 1 and {MAX_START_TIMEOUT_SECS} seconds"
        ));
    }
    let numbers = [
        row.health_timeout,
        row.health_invocation_timeout,
        row.health_interval,
    ];
    numbers_and_endpoint("Health check", numbers, row.health_endpoint.as_deref(), problems);
    if row.health_type != "http" {
        row.health_endpoint = None;
    }
}

fn readiness_change(row: &mut process::Model, check: CheckChange, problems: &mut Vec<String>) {
    row.readiness_type = check.kind.unwrap_or(std::mem::take(&mut row.readiness_type));
    row.readiness_endpoint = check.data.endpoint.unwrap_or(row.readiness_endpoint.take());
    row.readiness_invocation_timeout = check
        .data
        .invocation_timeout
        .unwrap_or(row.readiness_invocation_timeout);
    row.readiness_interval = check.data.interval.unwrap_or(row.readiness_interval);
    if !["port", "process", "http"].contains(&row.readiness_type.as_str()) {
        problems.push("Readiness health check type must be \"port\", \"process\", or \"http\"".to_owned());
    }
    let numbers = [row.readiness_invocation_timeout, row.readiness_interval, None];
    numbers_and_endpoint(
        "Readiness health check",
        numbers,
        row.readiness_endpoint.as_deref(),
        problems,
    );
}

fn numbers_and_endpoint(
    name: &str,
    numbers: [Option<i64>; 3],
    endpoint: Option<&str>,
    problems: &mut Vec<String>,
) {
    if numbers.into_iter().flatten().any(|n| n < 1) {
        problems.push(format!(
            "{name} timeouts and intervals must be greater than or equal to 1"
        ));
    }
    if endpoint.is_some_and(|e| !e.starts_with('/') || e.chars().any(|c| c.is_control() || c == ' ')) {
        problems.push(format!("{name} endpoint must be a valid URI path"));
    }
}

/// What to scale to; absent stays.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scale {
    pub(crate) instances: Option<i64>,
    pub(crate) memory_in_mb: Option<i64>,
    pub(crate) disk_in_mb: Option<i64>,
    pub(crate) log_rate_limit_in_bytes_per_second: Option<i64>,
}

/// Applies a scale request to a row after checking it.
pub(crate) fn resize(
    settings: &Settings,
    row: &mut process::Model,
    scale: &Scale,
) -> Result<(), Vec<String>> {
    row.instances = scale.instances.unwrap_or(row.instances);
    row.memory_mb = scale.memory_in_mb.unwrap_or(row.memory_mb);
    row.disk_mb = scale.disk_in_mb.unwrap_or(row.disk_mb);
    row.log_rate_limit = scale
        .log_rate_limit_in_bytes_per_second
        .unwrap_or(row.log_rate_limit);
    let most = settings.maximum_disk_mb;
    let rules = [
        (
            row.instances >= 0,
            "Instances must be greater than or equal to 0".to_owned(),
        ),
        (
            row.instances <= MAX_INSTANCES,
            format!("Instances must be less than or equal to {MAX_INSTANCES}"),
        ),
        (
            row.memory_mb > 0,
            "Memory in mb must be greater than 0".to_owned(),
        ),
        (row.memory_mb <= 1 << 30, "Memory in mb is too large".to_owned()),
        (row.disk_mb > 0, "Disk in mb must be greater than 0".to_owned()),
        (
            row.disk_mb <= most,
            format!(
                "Disk quota too much disk requested (requested {} MB - must be less than {most} MB)",
                row.disk_mb
            ),
        ),
        (
            row.log_rate_limit >= -1,
            "Log rate limit in bytes per second must be greater than or equal to -1".to_owned(),
        ),
    ];
    let problems: Vec<String> = rules
        .into_iter()
        .filter(|(ok, _)| !ok)
        .map(|(_, problem)| problem)
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}
