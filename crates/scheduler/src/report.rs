//! What a cell says of an instance → its row.
//!
//! | the cell says | row of this cell | then |
//! |---|---|---|
//! | starting, stopping | any | as it is |
//! | running | claimed, running | running, with address, ports, readiness |
//! | ended, as asked | any | gone |
//! | ended, fault of the platform | any | unclaimed under a new id, after a pause |
//! | ended by itself | any | crashed |
//! | ended | none, or of another cell | as it is |
//!
//! Every end is forgotten by the cell once this is written. A row without a cell counts as this cell's for ends: the
//! answer to the order was lost. It does not for the others: the planner gives such a row to one cell first.

use std::time::Duration;

use model::{CellId, LrpEvent, LrpState};
use planner::{PLATFORM_FAULT_DELAY, RestartDecision, on_crash};
use store::actual_lrp::Model;
use tracing::warn;
use wire::v1::{Exit, InstancePhase, InstanceStatus};

use crate::crash::CrashReport;
use crate::rows::{Rows, clear_container, state_of, step};

/// Longest crash reason kept (cloudfoundry/bbs:models/actual_lrp.go).
const LONGEST_REASON: usize = 1024;
/// Pause before a refused instance is offered again.
const REFUSED_PAUSE: Duration = Duration::from_secs(2);

/// What follows from a status besides the change of the row.
pub(crate) enum Consequence {
    None,
    /// The cell may forget the instance.
    Forget,
    /// The same, and a crash is to be told.
    Crashed(Box<CrashReport>),
}

/// Brings the row in line with what the cell says.
pub(crate) fn settle(rows: &mut Rows, cell: &CellId, status: &InstanceStatus, now_ns: i64) -> Consequence {
    let instance = status.instance_guid.as_str();
    let Some(row) = rows.get(instance) else {
        return end_of(status).map_or(Consequence::None, |_| Consequence::Forget);
    };
    let at = row.cell_id.as_deref();
    match end_of(status) {
        Some(exit) if at.is_none_or(|id| id == cell.as_str()) => {
            let exit = exit.clone();
            ended(rows, cell, status, (&exit, now_ns))
        }
        Some(_) => Consequence::Forget,
        None => {
            let runs = status.phase() == InstancePhase::Running && at == Some(cell.as_str());
            if runs && matches!(state_of(row), LrpState::Claimed | LrpState::Running) {
                rows.edit(instance, |row| running(row, status, now_ns));
            }
            Consequence::None
        }
    }
}

/// The cell does not take the instance: it is offered again after a pause, with the reason for all to see meanwhile.
pub(crate) fn refuse(rows: &mut Rows, cell: &CellId, instance: &str, (reason, now_ns): (&str, i64)) {
    let claimed =
        |row: &&Model| state_of(row) == LrpState::Claimed && row.cell_id.as_deref() == Some(cell.as_str());
    if rows.get(instance).filter(claimed).is_some() {
        rows.edit(instance, |row| {
            pause(row, now_ns, REFUSED_PAUSE);
            row.placement_error = Some(cut(reason));
        });
    }
}

fn end_of(status: &InstanceStatus) -> Option<&Exit> {
    static UNKNOWN: Exit = Exit {
        crashed: false,
        description: String::new(),
        status: 0,
        signal: String::new(),
        out_of_memory: false,
        not_app_fault: false,
        last_lines: Vec::new(),
    };
    (status.phase() == InstancePhase::Ended).then(|| status.exit.as_ref().unwrap_or(&UNKNOWN))
}

fn running(row: &mut Model, status: &InstanceStatus, now_ns: i64) {
    if state_of(row) == LrpState::Claimed {
        if let Err(denied) = step(row, LrpEvent::Run) {
            warn!(instance = row.guid, error = %denied, "a report does not fit its row");
            return;
        }
        row.since_ns = if status.since_ns > 0 {
            status.since_ns
        } else {
            now_ns
        };
    }
    row.address = Some(status.address.clone()).filter(|address| !address.is_empty());
    let ports: Vec<u16> = status
        .ports
        .iter()
        .filter_map(|&port| u16::try_from(port).ok())
        .collect();
    row.ports = serde_json::to_string(&ports).expect("numbers become JSON");
    row.ready = status.ready;
    row.placement_error = None;
}

fn ended(
    rows: &mut Rows,
    cell: &CellId,
    status: &InstanceStatus,
    (exit, now_ns): (&Exit, i64),
) -> Consequence {
    let instance = status.instance_guid.as_str();
    let already = rows.get(instance).map(state_of) == Some(LrpState::Crashed);
    if already {
        return Consequence::Forget;
    }
    if !exit.crashed {
        rows.remove(instance);
        return Consequence::Forget;
    }
    if exit.not_app_fault {
        rows.edit(instance, |row| {
            // Ids of containers are never used again.
            row.guid = store::new_guid();
            pause(row, now_ns, PLATFORM_FAULT_DELAY);
            row.placement_error = Some(cut(&exit.description));
        });
        return Consequence::Forget;
    }
    let mut told = Consequence::Forget;
    rows.edit(instance, |row| {
        if let Some(crash) = crash(row, status, (exit, now_ns)) {
            told = Consequence::Crashed(Box::new(CrashReport {
                instance: instance.to_owned(),
                process: row.process_guid.clone(),
                version: row.process_version.clone(),
                index: row.instance_index,
                cell: cell.clone(),
                exit: exit.clone(),
                count: crash,
                at_ns: now_ns,
            }));
        }
    });
    told
}

/// Marks the row crashed and returns its crash count.
fn crash(row: &mut Model, status: &InstanceStatus, (exit, now_ns): (&Exit, i64)) -> Option<u32> {
    let ran_for = if state_of(row) == LrpState::Running {
        let ended_ns = if status.since_ns > 0 {
            status.since_ns
        } else {
            now_ns
        };
        Duration::from_nanos(u64::try_from(ended_ns.saturating_sub(row.since_ns)).unwrap_or_default())
    } else {
        Duration::ZERO
    };
    if let Err(denied) = step(row, LrpEvent::Crash) {
        warn!(instance = row.guid, error = %denied, "a report does not fit its row");
        return None;
    }
    let previous = u32::try_from(row.crash_count.max(0)).unwrap_or(u32::MAX);
    let crash = on_crash(previous, ran_for, now_ns);
    clear_container(row);
    row.since_ns = now_ns;
    row.crash_count = i64::from(crash.count);
    row.crash_reason = Some(cut(&exit.description));
    row.retry_at_ns = match crash.decision {
        RestartDecision::At(at) => Some(at),
        RestartDecision::Now | RestartDecision::Never => None,
    };
    Some(crash.count)
}

/// Gives the row back, to be placed no earlier than after a pause.
fn pause(row: &mut Model, now_ns: i64, pause: Duration) {
    if let Err(denied) = step(row, LrpEvent::Unclaim) {
        warn!(instance = row.guid, error = %denied, "a report does not fit its row");
        return;
    }
    clear_container(row);
    row.since_ns = now_ns;
    row.retry_at_ns = Some(now_ns.saturating_add(i64::try_from(pause.as_nanos()).unwrap_or(i64::MAX)));
}

fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(LONGEST_REASON);
    text[..end].to_owned()
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
