//! A small platform without containers: a database of rows, cells that lose orders, crash, vanish and return, and a
//! scheduler that does what the planner says. All chance comes from one seed.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use model::{CellId, InstanceGuid, LrpEvent, LrpState};
use planner::{
    Action, ActualLrp, CellHealth, CellState, DesiredLrp, DockerFlag, Held, Lifecycle, Resources,
    RestartDecision, Snapshot, StopReason, converge, on_crash,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub const SEC: i64 = 1_000_000_000;
const LEASE: i64 = 15 * SEC;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    Stopping,
}

#[derive(Clone, Debug)]
struct Container {
    size: Resources,
    phase: Phase,
    since_ns: i64,
}

#[derive(Debug)]
pub struct SimCell {
    id: CellId,
    capacity: Resources,
    containers: BTreeMap<InstanceGuid, Container>,
    /// Unreachable since; the containers may live on.
    away_since: Option<i64>,
    /// Ends the scheduler has not heard of: instance, and whether it crashed.
    ended: Vec<(InstanceGuid, bool)>,
}

/// How likely things go wrong, per step and thing.
#[derive(Clone, Copy)]
pub struct Faults {
    pub crash: f64,
    pub lose_order: f64,
    pub lose_cell: f64,
    pub change_desired: f64,
}

impl Faults {
    pub const NONE: Self = Self {
        crash: 0.0,
        lose_order: 0.0,
        lose_cell: 0.0,
        change_desired: 0.0,
    };
}

pub struct World {
    rng: StdRng,
    pub now_ns: i64,
    pub docker: DockerFlag,
    pub desired: Vec<DesiredLrp>,
    pub rows: BTreeMap<InstanceGuid, ActualLrp>,
    pub cells: Vec<SimCell>,
    guids: u64,
    versions: u64,
    wake_ns: Option<i64>,
    /// Everything ever decided, to compare two runs.
    pub log: Vec<Action>,
}

impl World {
    pub fn new(seed: u64, cells: usize, processes: usize) -> Self {
        let capacity = Resources {
            memory_mb: 8000,
            disk_mb: 16_000,
            containers: 250,
        };
        let cell = |n| SimCell {
            id: CellId::new(format!("cell-{n:03}")),
            capacity,
            containers: BTreeMap::new(),
            away_since: None,
            ended: Vec::new(),
        };
        let desired = |n: usize| DesiredLrp {
            process: format!("process-{n:03}").into(),
            version: "v0".into(),
            instances: (n % 7) as u32,
            memory_mb: [64, 128, 256][n % 3],
            disk_mb: 128,
            lifecycle: if n.is_multiple_of(4) {
                Lifecycle::Buildpack
            } else {
                Lifecycle::Docker
            },
            architecture: None,
        };
        Self {
            rng: StdRng::seed_from_u64(seed),
            now_ns: 1_000_000 * SEC,
            docker: DockerFlag::Enabled,
            desired: (0..processes).map(desired).collect(),
            rows: BTreeMap::new(),
            cells: (0..cells).map(cell).collect(),
            guids: 0,
            versions: 0,
            wake_ns: None,
            log: Vec::new(),
        }
    }

    /// A second passes: life on cells, reports, one pass.
    pub fn step(&mut self, faults: Faults) -> Vec<Action> {
        self.now_ns += SEC;
        self.live(faults);
        self.report();
        let actions = self.decide();
        for action in &actions {
            self.execute(action.clone(), faults);
        }
        self.log.extend(actions.iter().cloned());
        actions
    }

    /// Jumps to the next timer, if that is further away than the next step.
    pub fn skip_to_timer(&mut self) {
        if let Some(at) = self.wake_ns {
            self.now_ns = self.now_ns.max(at);
        }
    }

    /// Every cell comes back; flags and counts are those of a calm day.
    pub fn heal(&mut self) {
        self.docker = DockerFlag::Enabled;
        for cell in &mut self.cells {
            cell.away_since = None;
        }
    }

    fn live(&mut self, faults: Faults) {
        let (now, rng) = (self.now_ns, &mut self.rng);
        for cell in &mut self.cells {
            match cell.away_since {
                None if rng.random_bool(faults.lose_cell) => {
                    cell.away_since = Some(now);
                    if rng.random_bool(0.5) {
                        cell.containers.clear();
                    }
                }
                Some(_) if rng.random_bool(0.05) => cell.away_since = None,
                _ => {}
            }
            let mut ended = Vec::new();
            for (instance, container) in &mut cell.containers {
                match container.phase {
                    Phase::Stopping => ended.push((instance.clone(), false)),
                    _ if rng.random_bool(faults.crash) => ended.push((instance.clone(), true)),
                    Phase::Starting => (container.phase, container.since_ns) = (Phase::Running, now),
                    Phase::Running => {}
                }
            }
            for (instance, _) in &ended {
                cell.containers.remove(instance);
            }
            cell.ended.extend(ended);
        }
        if self.rng.random_bool(faults.change_desired) {
            self.change_desired();
        }
    }

    fn change_desired(&mut self) {
        let n = self.rng.random_range(0..self.desired.len());
        match self.rng.random_range(0..4) {
            0 => self.desired[n].instances = self.rng.random_range(0..8),
            1 | 2 => {
                self.versions += 1;
                self.desired[n].version = format!("v{}", self.versions);
            }
            _ if self.docker == DockerFlag::Enabled => self.docker = DockerFlag::Disabled,
            _ => self.docker = DockerFlag::Enabled,
        }
    }

    /// What the scheduler hears from the cells it can reach goes into the rows.
    fn report(&mut self) {
        let now = self.now_ns;
        for cell in self.cells.iter_mut().filter(|cell| cell.away_since.is_none()) {
            for (instance, container) in &cell.containers {
                let claimed = |row: &&mut ActualLrp| row.cell.as_ref() == Some(&cell.id);
                let Some(row) = self.rows.get_mut(instance).filter(claimed) else {
                    continue;
                };
                if container.phase == Phase::Running && row.state == LrpState::Claimed {
                    row.state = row
                        .state
                        .transition(LrpEvent::Run)
                        .expect("a claimed instance may run");
                    row.since_ns = container.since_ns;
                }
            }
            for (instance, crashed) in cell.ended.drain(..) {
                let Some(row) = self.rows.get_mut(&instance) else {
                    continue;
                };
                if row.cell.as_ref() != Some(&cell.id) {
                    continue;
                }
                if !crashed {
                    self.rows.remove(&instance);
                    continue;
                }
                let ran_ns = if row.state == LrpState::Running {
                    now - row.since_ns
                } else {
                    0
                };
                let crash = on_crash(row.crash_count, Duration::from_nanos(ran_ns as u64), now);
                row.state = row
                    .state
                    .transition(LrpEvent::Crash)
                    .expect("what has a container may crash");
                (row.crash_count, row.since_ns, row.cell) = (crash.count, now, None);
                row.retry_at_ns = match crash.decision {
                    RestartDecision::Now => Some(now),
                    RestartDecision::At(at) => Some(at),
                    RestartDecision::Never => None,
                };
            }
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        let cell = |cell: &SimCell| {
            let held = |(instance, container): (&InstanceGuid, &Container)| Held {
                instance: instance.clone(),
                since_ns: container.since_ns,
            };
            let health = match cell.away_since {
                None => CellHealth::Alive,
                Some(since) if self.now_ns - since > LEASE => CellHealth::Lost,
                Some(_) => CellHealth::Unknown,
            };
            CellState {
                id: cell.id.clone(),
                capacity: cell.capacity,
                architecture: "amd64".into(),
                health,
                held: cell
                    .away_since
                    .is_none()
                    .then(|| cell.containers.iter().map(held).collect()),
            }
        };
        Snapshot {
            now_ns: self.now_ns,
            docker: self.docker,
            desired: self.desired.clone(),
            actual: self.rows.values().cloned().collect(),
            cells: self.cells.iter().map(cell).collect(),
        }
    }

    fn decide(&mut self) -> Vec<Action> {
        let snapshot = self.snapshot();
        let guids = &mut self.guids;
        let actions = converge(&snapshot, &mut || {
            *guids += 1;
            InstanceGuid::new(format!("instance-{guids:09}"))
        });
        self.wake_ns = actions.iter().find_map(|action| match action {
            Action::WakeAt(at) => Some(*at),
            _ => None,
        });
        actions
    }

    fn execute(&mut self, action: Action, faults: Faults) {
        match action {
            Action::Stop { instance, cell, .. } => {
                let lost = self.rng.random_bool(faults.lose_order);
                if let Some(container) = self.reach(&cell).and_then(|c| c.containers.get_mut(&instance))
                    && !lost
                {
                    container.phase = Phase::Stopping;
                }
            }
            Action::Retire { instance, .. } => {
                self.rows.remove(&instance).expect("a retired row exists");
            }
            Action::Create {
                instance,
                process,
                version,
                index,
            } => {
                let row = self.fresh(instance.clone(), (process, version, index));
                assert!(self.rows.insert(instance, row).is_none(), "ids are never reused");
            }
            Action::Restart {
                instance,
                replacement,
                ..
            } => {
                let old = self.rows.remove(&instance).expect("a restarted row exists");
                let fresh = self.fresh(replacement.clone(), (old.process, old.version, old.index));
                self.rows.insert(
                    replacement,
                    ActualLrp {
                        crash_count: old.crash_count,
                        ..fresh
                    },
                );
            }
            Action::Place { instance, cell } => {
                let now = self.now_ns;
                let row = self.rows.get_mut(&instance).expect("a placed row exists");
                assert_eq!(row.state, LrpState::Unclaimed, "{instance}");
                row.state = LrpState::Claimed;
                (row.cell, row.since_ns) = (Some(cell.clone()), now);
                (row.placement_error, row.retry_at_ns) = (None, None);
                self.run(&instance, &cell, faults);
            }
            Action::RunAgain { instance, cell } => self.run(&instance, &cell, faults),
            Action::PlacementFailed { instance, error } => {
                self.rows
                    .get_mut(&instance)
                    .expect("the row exists")
                    .placement_error = Some(error);
            }
            Action::WakeAt(_) => {}
        }
    }

    /// The order to run reaches the cell, or not; the cell judges for itself whether it has room.
    fn run(&mut self, instance: &InstanceGuid, cell: &CellId, faults: Faults) {
        if self.rng.random_bool(faults.lose_order) {
            return;
        }
        let (now, row) = (self.now_ns, self.rows[instance].clone());
        let (memory_mb, disk_mb) = row.size.expect("the world knows all sizes");
        let size = Resources {
            memory_mb,
            disk_mb,
            containers: 1,
        };
        let Some(cell) = self.reach(cell) else { return };
        if cell.containers.contains_key(instance) {
            return;
        }
        let used: u64 = cell.containers.values().map(|c| c.size.memory_mb).sum();
        if used + memory_mb > cell.capacity.memory_mb
            || cell.containers.len() as u64 >= cell.capacity.containers
        {
            let row = self.rows.get_mut(instance).expect("just read");
            (row.state, row.cell) = (LrpState::Unclaimed, None);
            return;
        }
        cell.containers.insert(
            instance.clone(),
            Container {
                size,
                phase: Phase::Starting,
                since_ns: now,
            },
        );
    }

    fn reach(&mut self, id: &CellId) -> Option<&mut SimCell> {
        self.cells
            .iter_mut()
            .find(|cell| cell.id == *id && cell.away_since.is_none())
    }

    fn fresh(
        &self,
        instance: InstanceGuid,
        (process, version, index): (model::ProcessGuid, String, u32),
    ) -> ActualLrp {
        let desired = self
            .desired
            .iter()
            .find(|d| d.process == process)
            .expect("processes are never deleted here");
        ActualLrp {
            instance,
            version,
            index,
            state: LrpState::Unclaimed,
            cell: None,
            crash_count: 0,
            since_ns: self.now_ns,
            placement_error: None,
            retry_at_ns: None,
            size: Some((desired.memory_mb, desired.disk_mb)),
            process,
        }
    }

    /// What must hold after every step, whatever went wrong.
    pub fn check_always(&self) {
        let mut seen: HashMap<(&str, &str, u32), &InstanceGuid> = HashMap::new();
        for row in self.rows.values() {
            let slot = (row.process.as_str(), row.version.as_str(), row.index);
            assert_eq!(seen.insert(slot, &row.instance), None, "two rows for {slot:?}");
            assert_eq!(
                row.cell.is_some(),
                matches!(row.state, LrpState::Claimed | LrpState::Running),
                "{row:?}"
            );
        }
        for desired in &self.desired {
            let of_version =
                |row: &&ActualLrp| row.process == desired.process && row.version == desired.version;
            let wanted = self
                .rows
                .values()
                .filter(of_version)
                .filter(|row| row.index < desired.instances);
            assert!(
                wanted.count() <= desired.instances as usize,
                "{}",
                desired.process
            );
        }
        for cell in &self.cells {
            let used: u64 = cell.containers.values().map(|c| c.size.memory_mb).sum();
            assert!(used <= cell.capacity.memory_mb, "{} is over its memory", cell.id);
        }
    }

    /// What must hold when faults are over and there was time: exactly the wanted instances run, each once.
    pub fn check_settled(&self) {
        let mut wanted: Vec<(String, String, u32)> = Vec::new();
        for d in &self.desired {
            wanted.extend((0..d.instances).map(|index| (d.process.to_string(), d.version.clone(), index)));
        }
        let running = self.rows.values().filter(|row| row.state == LrpState::Running);
        let mut rows: Vec<_> = running
            .map(|row| (row.process.to_string(), row.version.clone(), row.index))
            .collect();
        rows.sort();
        wanted.sort();
        assert_eq!(rows, wanted);
        assert_eq!(self.rows.len(), wanted.len(), "no other rows are left");
        let mut containers = 0;
        for cell in &self.cells {
            for (instance, container) in &cell.containers {
                containers += 1;
                assert_eq!(container.phase, Phase::Running);
                assert_eq!(self.rows[instance].cell.as_ref(), Some(&cell.id), "{instance}");
            }
        }
        assert_eq!(
            containers,
            wanted.len(),
            "every row has its container, and no container is left over"
        );
    }

    /// Instances per cell of each process: the least and the most.
    pub fn spread(&self) -> Vec<(usize, usize)> {
        let count = |process: &DesiredLrp, cell: &SimCell| {
            let here =
                |row: &&ActualLrp| row.process == process.process && row.cell.as_ref() == Some(&cell.id);
            self.rows.values().filter(here).count()
        };
        let of = |process| {
            let counts: Vec<usize> = self.cells.iter().map(|cell| count(process, cell)).collect();
            (
                counts.iter().copied().min().unwrap_or(0),
                counts.iter().copied().max().unwrap_or(0),
            )
        };
        self.desired.iter().map(of).collect()
    }

    /// Memory in use per cell, MiB.
    pub fn memory(&self) -> Vec<u64> {
        self.cells
            .iter()
            .map(|cell| cell.containers.values().map(|c| c.size.memory_mb).sum())
            .collect()
    }

    /// Stops asked for so far, by reason.
    pub fn stops(&self, wanted: StopReason) -> usize {
        self.log
            .iter()
            .filter(|a| matches!(a, Action::Stop { reason, .. } if *reason == wanted))
            .count()
    }
}
