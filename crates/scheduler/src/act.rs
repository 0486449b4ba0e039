//! The planner's actions → changed rows, and orders for cells.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use base::chain;
use model::{CellId, InstanceGuid, LrpEvent, LrpState, ProcessGuid};
use planner::{Action, RestartCause};
use store::actual_lrp::Model;
use tracing::{error, info, warn};
use wire::v1::InstanceSpec;

use crate::pinned::PinnedCache;
use crate::rows::{Rows, clear_container, step};
use crate::spec::{SpecError, Specs};

/// Pause before a version that cannot be opened is tried again: only an operator can help.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(30);

/// What cells are told once the rows are written.
#[derive(Default)]
pub(crate) struct Orders {
    /// To be ended.
    pub(crate) stop: Vec<(CellId, InstanceGuid)>,
    /// To be run.
    pub(crate) run: Vec<(CellId, InstanceSpec)>,
    /// When to look again at the latest, nanoseconds since 1970.
    pub(crate) wake_ns: Option<i64>,
}

/// Carries actions out on the rows of a pass.
pub(crate) struct Hands<'a> {
    pub(crate) rows: &'a mut Rows,
    pub(crate) pinned: &'a PinnedCache,
    pub(crate) now_ns: i64,
    pub(crate) orders: Orders,
}

/// Splits actions before the first that needs a spec: what comes before may create the rows that come after.
pub(crate) fn split(actions: Vec<Action>) -> (Vec<Action>, Vec<Action>) {
    let needs_spec = |action: &Action| matches!(action, Action::Place { .. } | Action::RunAgain { .. });
    let mut before = actions;
    let at = before.iter().position(needs_spec).unwrap_or(before.len());
    let after = before.split_off(at);
    (before, after)
}

/// The versions whose specs these actions need.
pub(crate) fn versions(actions: &[Action], rows: &Rows) -> BTreeSet<String> {
    let version = |action: &Action| match action {
        Action::Place { instance, .. } | Action::RunAgain { instance, .. } => {
            rows.get(instance.as_str()).map(|row| row.process_version.clone())
        }
        _ => None,
    };
    actions.iter().filter_map(version).collect()
}

impl Hands<'_> {
    /// Carries actions out in order.
    pub(crate) fn carry_out(&mut self, actions: Vec<Action>, specs: &Specs) {
        for action in actions {
            self.act(action, specs);
        }
    }

    /// Instances that are being ended: no route leads to them any more.
    pub(crate) fn ending(&self) -> HashSet<InstanceGuid> {
        self.orders
            .stop
            .iter()
            .map(|(_, instance)| instance.clone())
            .collect()
    }

    fn act(&mut self, action: Action, specs: &Specs) {
        match action {
            Action::Stop { instance, cell, .. } => self.orders.stop.push((cell, instance)),
            Action::Retire { instance, reason } => {
                info!(%instance, ?reason, "retired");
                self.rows.remove(instance.as_str());
            }
            Action::Create {
                instance,
                process,
                version,
                index,
            } => self.create(instance, process, (version, index)),
            Action::Restart {
                instance,
                replacement,
                cause,
            } => self.restart(&instance, replacement, cause),
            Action::Place { instance, cell } => self.place(&instance, cell, specs),
            Action::RunAgain { instance, cell } => match self.order(&instance, specs) {
                Ok(spec) => self.orders.run.push((cell, spec)),
                Err(why) => warn!(%instance, why, "not ordered again"),
            },
            Action::PlacementFailed { instance, error } => {
                info!(%instance, error, "not placed");
                self.rows
                    .edit(instance.as_str(), |row| row.placement_error = Some(error));
            }
            Action::WakeAt(at) => self.orders.wake_ns = Some(at),
        }
    }

    fn create(&mut self, instance: InstanceGuid, process: ProcessGuid, (version, index): (String, u32)) {
        self.rows.insert(Model {
            id: 0,
            guid: instance.into(),
            created_at: 0,
            updated_at: 0,
            process_guid: process.into(),
            process_version: version,
            instance_index: i64::from(index),
            state: LrpState::Unclaimed.as_str().to_owned(),
            cell_id: None,
            address: None,
            ports: "[]".to_owned(),
            ready: false,
            since_ns: self.now_ns,
            memory_mb: 0,
            disk_mb: 0,
            crash_count: 0,
            crash_reason: None,
            placement_error: None,
            retry_at_ns: None,
        });
    }

    fn restart(&mut self, instance: &InstanceGuid, replacement: InstanceGuid, cause: RestartCause) {
        info!(%instance, %replacement, ?cause, "starting anew");
        let now_ns = self.now_ns;
        self.rows.edit(instance.as_str(), |row| {
            if let Err(denied) = step(row, LrpEvent::Unclaim) {
                warn!(%instance, error = %denied, "not started anew");
                return;
            }
            clear_container(row);
            row.guid = replacement.into();
            row.since_ns = now_ns;
            row.placement_error = None;
            row.retry_at_ns = None;
        });
    }

    fn place(&mut self, instance: &InstanceGuid, cell: CellId, specs: &Specs) {
        let now_ns = self.now_ns;
        match self.order(instance, specs) {
            Ok(spec) => {
                info!(%instance, %cell, index = spec.index, "placed");
                let size = self
                    .rows
                    .get(instance.as_str())
                    .and_then(|row| self.pinned.get(&row.process_version));
                self.rows.edit(instance.as_str(), |row| {
                    if let Err(denied) = step(row, LrpEvent::Claim) {
                        warn!(%instance, error = %denied, "not placed");
                        return;
                    }
                    row.cell_id = Some(cell.as_str().to_owned());
                    row.since_ns = now_ns;
                    row.placement_error = None;
                    row.retry_at_ns = None;
                    if let Some(size) = size {
                        row.memory_mb = i64::try_from(size.memory_mb).unwrap_or(i64::MAX);
                        row.disk_mb = i64::try_from(size.disk_mb).unwrap_or(i64::MAX);
                    }
                });
                self.orders.run.push((cell, spec));
            }
            Err(why) => self.rows.edit(instance.as_str(), |row| {
                let pause = i64::try_from(UNREADABLE_PAUSE.as_nanos()).unwrap_or(i64::MAX);
                row.retry_at_ns = Some(now_ns.saturating_add(pause));
                row.placement_error = Some(why);
            }),
        }
    }

    /// The order for an instance, or why there is none, in words for users.
    fn order(&self, instance: &InstanceGuid, specs: &Specs) -> Result<InstanceSpec, String> {
        let row = self.rows.get(instance.as_str()).ok_or("its row is gone")?;
        let spec = match specs.get(&row.process_version) {
            Some(Ok(spec)) => spec,
            Some(Err(cause)) => return Err(unreadable(instance, cause)),
            None => return Err("its version is gone".to_owned()),
        };
        Ok(InstanceSpec {
            instance_guid: row.guid.clone(),
            index: u32::try_from(row.instance_index).unwrap_or_default(),
            ..spec.clone()
        })
    }
}

fn unreadable(instance: &InstanceGuid, cause: &SpecError) -> String {
    error!(%instance, error = chain(cause), "an instance cannot be run");
    "the app cannot be started: its stored settings cannot be opened; restart it, and if that does not help ask the \
     operator to check the platform's keys"
        .to_owned()
}

#[cfg(test)]
#[path = "act_tests.rs"]
mod tests;
