//! Desired against actual: the one place that decides what happens to instances.
//!
//! Rules (reference: cloudfoundry/bbs:controllers/lrp_convergence_controller.go, and the house's own where said):
//!
//! 1. Every index below a process' number of instances has exactly one row of its present version. A missing one
//!    is created. Of two, the one further along is kept, then the newer; an instance that serves is never ended
//!    for one that does not.
//! 2. Rows of stopped processes, older versions, surplus indices and, while `diego_docker` is off, of image apps
//!    are ended at once; successors do not wait for them. A container is asked to stop; a row without one goes.
//! 3. A crashed row stays until its back-off is over, then starts anew in the same row with its crash count.
//! 4. Instances of a lost cell start anew elsewhere, at once, without a crash. Those of a cell of unknown health
//!    are left alone: silence at the start of a scheduler proves nothing. Should a lost cell come back, its
//!    containers have ids no row knows and are stopped by rule 6.
//! 5. A row whose cell does not know it: an order that got lost is repeated (it is idempotent), an instance that
//!    already ran starts anew.
//! 6. A container no row stands for, or another cell's row, is stopped. An unclaimed row whose container a cell has
//!    after all (the answer to the order was lost) is given to that cell.
//! 7. What needs a cell goes through the auction. What fits nowhere keeps its row with the reason; what fits as
//!    soon as stopping instances are gone waits without a reason.
//!
//! For 5 and 6 rows and reports must be compared, and either may be a little older than the other;
//! [`REPORT_GRACE`] is the time a disagreement must last before it counts.

use std::collections::HashMap;
use std::time::Duration;

use model::{CellId, InstanceGuid, LrpState, ProcessGuid};

use crate::restart::{RestartDecision, after, decide};
use crate::{
    Action, ActualLrp, Auction, CellHealth, CellState, DesiredLrp, DockerFlag, Lifecycle, Outcome, Request,
    Resources, RestartCause, Snapshot, StopReason,
};

/// How long a cell's report and the database may disagree before the disagreement is believed.
pub const REPORT_GRACE: Duration = Duration::from_secs(5);

/// Rows one pass creates at most, so that its memory is bounded; the rest follows in the next pass, at once.
const MAX_CREATED: usize = 300_000;

/// Decides what to do about `snapshot`. `new_guid` yields an id never used before each time it is called.
pub fn converge(snapshot: &Snapshot, new_guid: &mut dyn FnMut() -> InstanceGuid) -> Vec<Action> {
    let mut pass = Pass::new(snapshot, new_guid);
    let slots = pass.sort_rows();
    for (group, desired) in snapshot.desired.iter().enumerate() {
        pass.fill(group, desired, &slots);
    }
    pass.stop_unknown();
    pass.finish()
}

/// The row that stands for each index of each process (by position in the snapshot).
type Slots<'a> = HashMap<(usize, u32), &'a ActualLrp>;

struct Pass<'a> {
    now_ns: i64,
    snapshot: &'a Snapshot,
    new_guid: &'a mut dyn FnMut() -> InstanceGuid,
    desired: HashMap<&'a ProcessGuid, usize>,
    cells: HashMap<&'a CellId, &'a CellState>,
    rows: HashMap<&'a InstanceGuid, &'a ActualLrp>,
    /// Cells that take or keep work and say they have the instance. More than one is a fault, and possible.
    holders: HashMap<&'a InstanceGuid, Vec<&'a CellId>>,
    auction: Auction,
    ends: Vec<Action>,
    begins: Vec<Action>,
    placed: Vec<Action>,
    waiting: Vec<Request<'a>>,
    created: usize,
    wake_ns: Option<i64>,
}

impl<'a> Pass<'a> {
    fn new(snapshot: &'a Snapshot, new_guid: &'a mut dyn FnMut() -> InstanceGuid) -> Self {
        let mut holders: HashMap<&InstanceGuid, Vec<&CellId>> = HashMap::new();
        for cell in snapshot.cells.iter().filter(|cell| is_reachable(cell)) {
            for held in cell.held.iter().flatten() {
                holders.entry(&held.instance).or_default().push(&cell.id);
            }
        }
        Self {
            now_ns: snapshot.now_ns,
            snapshot,
            new_guid,
            desired: snapshot
                .desired
                .iter()
                .enumerate()
                .map(|(group, d)| (&d.process, group))
                .collect(),
            cells: snapshot.cells.iter().map(|cell| (&cell.id, cell)).collect(),
            rows: snapshot.actual.iter().map(|row| (&row.instance, row)).collect(),
            holders,
            auction: Auction::new(&snapshot.cells),
            ends: Vec::new(),
            begins: Vec::new(),
            placed: Vec::new(),
            waiting: Vec::new(),
            created: 0,
            wake_ns: None,
        }
    }

    /// Ends the rows nobody wants (rules 1 and 2) and returns the others by what they stand for.
    fn sort_rows(&mut self) -> Slots<'a> {
        let mut slots: Slots<'a> = HashMap::new();
        for row in &self.snapshot.actual {
            let group = match self.wanted(row) {
                Ok(group) => group,
                Err(reason) => {
                    self.end(row, reason);
                    continue;
                }
            };
            let rival = slots.get(&(group, row.index)).copied();
            let loser = match rival {
                Some(rival) if self.worth(rival) >= self.worth(row) => Some(row),
                rival => {
                    slots.insert((group, row.index), row);
                    rival
                }
            };
            if let Some(loser) = loser {
                self.end(loser, StopReason::Duplicate);
            }
        }
        slots
    }

    /// Which of two rows for one index is kept: the one further along, then the newer, then any, but always the same.
    fn worth<'r>(&mut self, row: &'r ActualLrp) -> (u8, i64, &'r str) {
        let progress = match row.state {
            LrpState::Crashed => 0,
            LrpState::Unclaimed => 1,
            // What would have to start anew is no further than what has not started.
            LrpState::Claimed | LrpState::Running if self.is_dead(row) => 1,
            LrpState::Claimed => 2,
            LrpState::Running => 3,
        };
        (progress, row.since_ns, row.instance.as_str())
    }

    /// Whether the container the row speaks of is lost for good.
    fn is_dead(&mut self, row: &ActualLrp) -> bool {
        let Some(id) = &row.cell else { return true };
        match self.cells.get(id).copied() {
            Some(cell) if cell.health == CellHealth::Lost => true,
            Some(cell) if is_reachable(cell) => self.is_gone(row, cell),
            _ => false,
        }
    }

    /// The process the row stands for, or why none.
    fn wanted(&self, row: &ActualLrp) -> Result<usize, StopReason> {
        let &group = self.desired.get(&row.process).ok_or(StopReason::NotDesired)?;
        let desired = &self.snapshot.desired[group];
        if self.is_switched_off(desired) {
            Err(StopReason::DockerDisabled)
        } else if desired.version != row.version {
            Err(StopReason::OldVersion)
        } else if row.index >= desired.instances {
            Err(StopReason::Surplus)
        } else {
            Ok(group)
        }
    }

    fn is_switched_off(&self, desired: &DesiredLrp) -> bool {
        self.snapshot.docker == DockerFlag::Disabled && desired.lifecycle == Lifecycle::Docker
    }

    /// Ends a row that is not wanted.
    fn end(&mut self, row: &'a ActualLrp, reason: StopReason) {
        let instance = row.instance.clone();
        let cell = row.cell.as_ref().filter(|_| row.has_container());
        let Some(id) = cell else {
            self.ends.push(Action::Retire { instance, reason });
            return;
        };
        let Some(cell) = self.cells.get(id).copied() else {
            return;
        };
        match cell.health {
            CellHealth::Unknown => {}
            CellHealth::Lost => self.ends.push(Action::Retire { instance, reason }),
            CellHealth::Alive | CellHealth::Evacuating if self.is_gone(row, cell) => {
                self.ends.push(Action::Retire { instance, reason });
            }
            CellHealth::Alive | CellHealth::Evacuating => {
                self.auction.release(id, self.size(row));
                self.ends.push(Action::Stop {
                    instance,
                    cell: id.clone(),
                    reason,
                });
            }
        }
    }

    /// Sees to it that every index of the process is cared for.
    fn fill(&mut self, group: usize, desired: &'a DesiredLrp, slots: &Slots<'a>) {
        if self.is_switched_off(desired) {
            return;
        }
        for index in 0..desired.instances {
            match slots.get(&(group, index)) {
                Some(row) => self.tend(group, row),
                None if self.created < MAX_CREATED => self.create(group, desired, index),
                None => {
                    self.wake(self.now_ns);
                    return;
                }
            }
        }
    }

    fn create(&mut self, group: usize, desired: &'a DesiredLrp, index: u32) {
        let instance = (self.new_guid)();
        self.created += 1;
        self.begins.push(Action::Create {
            instance: instance.clone(),
            process: desired.process.clone(),
            version: desired.version.clone(),
            index,
        });
        self.want_cell(group, index, instance);
    }

    /// Looks after a row that is wanted.
    fn tend(&mut self, group: usize, row: &'a ActualLrp) {
        match row.state {
            LrpState::Unclaimed => self.tend_unclaimed(group, row),
            LrpState::Claimed | LrpState::Running => self.tend_held(group, row),
            LrpState::Crashed => {
                let decision = match row.retry_at_ns {
                    Some(at) => RestartDecision::At(at),
                    None => decide(row.crash_count, row.since_ns),
                };
                match decision {
                    RestartDecision::Never => {}
                    RestartDecision::At(at) if at > self.now_ns => self.wake(at),
                    RestartDecision::At(_) | RestartDecision::Now => {
                        self.restart(group, row, RestartCause::Crashed);
                    }
                }
            }
        }
    }

    fn tend_unclaimed(&mut self, group: usize, row: &'a ActualLrp) {
        let holder = self
            .holders
            .get(&row.instance)
            .and_then(|cells| cells.first())
            .copied();
        if let Some(cell) = holder {
            self.auction.occupy(cell, group, self.size(row));
            self.placed.push(Action::Place {
                instance: row.instance.clone(),
                cell: cell.clone(),
            });
        } else if let Some(at) = row.retry_at_ns.filter(|at| *at > self.now_ns) {
            self.wake(at);
        } else {
            self.want_cell(group, row.index, row.instance.clone());
        }
    }

    /// A row that names a cell (rules 4 and 5).
    fn tend_held(&mut self, group: usize, row: &'a ActualLrp) {
        let Some(id) = &row.cell else {
            // Claimed by nobody: only a damaged row says so. Nothing can run under it.
            self.restart(group, row, RestartCause::Vanished);
            return;
        };
        let Some(cell) = self.cells.get(id).copied() else {
            return;
        };
        match cell.health {
            CellHealth::Unknown => return,
            CellHealth::Lost => {
                self.restart(group, row, RestartCause::CellLost);
                return;
            }
            CellHealth::Alive | CellHealth::Evacuating => {}
        }
        let gone = self.is_gone(row, cell);
        if gone && row.state == LrpState::Running {
            self.restart(group, row, RestartCause::Vanished);
            return;
        }
        self.auction.occupy(id, group, self.size(row));
        if row.state == LrpState::Claimed {
            self.auction.starting(id);
        }
        if gone {
            self.placed.push(Action::RunAgain {
                instance: row.instance.clone(),
                cell: id.clone(),
            });
        }
    }

    /// Whether the cell has reported, does not have the row's container, and has had the time to.
    fn is_gone(&mut self, row: &ActualLrp, cell: &CellState) -> bool {
        let holds = self
            .holders
            .get(&row.instance)
            .is_some_and(|cells| cells.contains(&&cell.id));
        cell.held.is_some() && !holds && self.is_settled(row.since_ns)
    }

    /// Whether something known since then is older than the grace; asks for a pass when it will be.
    fn is_settled(&mut self, since_ns: i64) -> bool {
        // A cell's clock may be ahead of ours; the grace then counts from now.
        let due = after(since_ns.min(self.now_ns), REPORT_GRACE);
        if due > self.now_ns {
            self.wake(due);
        }
        due <= self.now_ns
    }

    fn restart(&mut self, group: usize, row: &ActualLrp, cause: RestartCause) {
        let replacement = (self.new_guid)();
        let instance = row.instance.clone();
        self.begins.push(Action::Restart {
            instance,
            replacement: replacement.clone(),
            cause,
        });
        self.want_cell(group, row.index, replacement);
    }

    fn want_cell(&mut self, group: usize, index: u32, instance: InstanceGuid) {
        let desired = &self.snapshot.desired[group];
        let size = Resources::of_instance(desired.memory_mb, desired.disk_mb);
        let architecture = desired.architecture.as_deref();
        self.waiting.push(Request {
            instance,
            group,
            index,
            size,
            architecture,
        });
    }

    /// Stops containers that no row stands for (rule 6).
    fn stop_unknown(&mut self) {
        let snapshot = self.snapshot;
        for cell in snapshot.cells.iter().filter(|cell| is_reachable(cell)) {
            for held in cell.held.iter().flatten() {
                if self.is_accounted_for(&held.instance, &cell.id) {
                    continue;
                }
                self.auction.release(&cell.id, Resources::of_instance(0, 0));
                if self.is_settled(held.since_ns) {
                    let (instance, cell) = (held.instance.clone(), cell.id.clone());
                    self.ends.push(Action::Stop {
                        instance,
                        cell,
                        reason: StopReason::Unknown,
                    });
                }
            }
        }
    }

    /// Whether the container is its row's one container.
    fn is_accounted_for(&self, instance: &InstanceGuid, cell: &CellId) -> bool {
        let Some(row) = self.rows.get(instance) else {
            return false;
        };
        match row.state {
            LrpState::Claimed | LrpState::Running => row.cell.as_ref() == Some(cell),
            // Given to the first cell that has it, see `tend_unclaimed`; one not wanted is retired, not kept.
            LrpState::Unclaimed => {
                let first = self.holders.get(instance).and_then(|cells| cells.first());
                first == Some(&cell) && self.wanted(row).is_ok()
            }
            LrpState::Crashed => false,
        }
    }

    /// Holds the auction and puts the actions in order.
    fn finish(mut self) -> Vec<Action> {
        let requests = std::mem::take(&mut self.waiting);
        for (instance, outcome) in self.auction.run(requests) {
            match outcome {
                Outcome::Placed(cell) => self.placed.push(Action::Place { instance, cell }),
                Outcome::Waiting => {}
                Outcome::Failed(why) => {
                    let error = why.to_string();
                    let known = self
                        .rows
                        .get(&instance)
                        .and_then(|row| row.placement_error.as_deref());
                    if known != Some(&error) {
                        self.placed.push(Action::PlacementFailed { instance, error });
                    }
                }
            }
        }
        let wake = self.wake_ns.map(Action::WakeAt);
        self.ends
            .into_iter()
            .chain(self.begins)
            .chain(self.placed)
            .chain(wake)
            .collect()
    }

    fn size(&self, row: &ActualLrp) -> Resources {
        let desired = self
            .desired
            .get(&row.process)
            .map(|&group| &self.snapshot.desired[group]);
        let known = row.size.or(desired.map(|d| (d.memory_mb, d.disk_mb)));
        let (memory_mb, disk_mb) = known.unwrap_or_default();
        Resources::of_instance(memory_mb, disk_mb)
    }

    fn wake(&mut self, at_ns: i64) {
        self.wake_ns = Some(self.wake_ns.map_or(at_ns, |earlier| earlier.min(at_ns)));
    }
}

fn is_reachable(cell: &CellState) -> bool {
    matches!(cell.health, CellHealth::Alive | CellHealth::Evacuating)
}

#[cfg(test)]
#[path = "converge_tests.rs"]
mod tests;
