//! What is known of each cell: who it is, what it says it has, whether it can be relied on.
//!
//! ```text
//! UNKNOWN ──synced──▶ ALIVE ──stream ends──▶ UNKNOWN ──lease runs out──▶ LOST ──synced──▶ ALIVE
//! ```
//!
//! A cell is given up only while another is alive: with nowhere to go, starting its instances anew would gain nothing
//! and cost a restart of them all when it comes back.
//!
//! The state of each instance is kept as the cell last said it, not as a queue of events: what a pass missed or could
//! not write is seen by the next, and a reconnect leads to the same place as the events would have.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use model::{CellId, InstanceGuid};
use planner::{CellHealth, CellState, Held, Resources};
use tokio::time::Instant;
use wire::v1::{CellDescription, InstancePhase, InstanceStatus};

use crate::courier::Courier;

/// News from or about a cell.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) cell: CellId,
    pub(crate) news: News,
}

/// What is new.
#[derive(Debug)]
pub(crate) enum News {
    /// A connection is made; all instances follow, then [`News::Synced`].
    Connected(CellDescription),
    /// An instance is so.
    Instance(Box<InstanceStatus>),
    /// All instances have been told.
    Synced,
    /// The connection is gone.
    Disconnected,
    /// The cell does not take an instance.
    Refused { instance: String, reason: String },
}

/// All cells of the settings.
#[derive(Default)]
pub(crate) struct Cells(BTreeMap<CellId, Cell>);

struct Cell {
    courier: Courier,
    description: Option<CellDescription>,
    link: Link,
    /// What it has, ended ones included; `None` until its first full report.
    statuses: Option<HashMap<String, InstanceStatus>>,
    /// The full report that is coming in.
    incoming: Option<HashMap<String, InstanceStatus>>,
    /// Instances it would not take, with its reasons, until written.
    refused: HashMap<String, String>,
}

enum Link {
    Up,
    Away { since: Instant },
}

impl Cells {
    pub(crate) fn add(&mut self, id: CellId, courier: Courier) {
        let cell = Cell {
            courier,
            description: None,
            link: Link::Away {
                since: Instant::now(),
            },
            statuses: None,
            incoming: None,
            refused: HashMap::new(),
        };
        self.0.insert(id, cell);
    }

    /// Notes a piece of news.
    pub(crate) fn hear(&mut self, report: Report) {
        let Some(cell) = self.0.get_mut(&report.cell) else {
            return;
        };
        match report.news {
            News::Connected(description) => {
                cell.description = Some(description);
                cell.incoming = Some(HashMap::new());
            }
            News::Instance(status) => {
                if let Some(known) = cell.incoming.as_mut().or(cell.statuses.as_mut()) {
                    known.insert(status.instance_guid.clone(), *status);
                }
            }
            News::Synced => {
                cell.statuses = cell.incoming.take().or(cell.statuses.take());
                cell.link = Link::Up;
                cell.courier.reconnected();
            }
            News::Disconnected => {
                cell.incoming = None;
                if let Link::Up = cell.link {
                    cell.link = Link::Away {
                        since: Instant::now(),
                    };
                }
            }
            News::Refused { instance, reason } => {
                cell.refused.insert(instance, reason);
            }
        }
    }

    /// Whether each cell has reported all it has at least once.
    pub(crate) fn have_all_reported(&self) -> bool {
        self.0.values().all(|cell| cell.statuses.is_some())
    }

    pub(crate) fn courier(&self, id: &CellId) -> Option<&Courier> {
        self.0.get(id).map(|cell| &cell.courier)
    }

    /// The last word on every instance of cells that can be heard.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = (&CellId, &InstanceStatus)> {
        let heard = self.0.iter().filter(|(_, cell)| matches!(cell.link, Link::Up));
        heard.flat_map(|(id, cell)| {
            cell.statuses
                .iter()
                .flatten()
                .map(move |(_, status)| (id, status))
        })
    }

    /// Instances refused since they were last forgotten, with reasons.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&CellId, &str, &str)> {
        self.0.iter().flat_map(|(id, cell)| {
            cell.refused
                .iter()
                .map(move |(i, why)| (id, i.as_str(), why.as_str()))
        })
    }

    /// The refusals are in the database.
    pub(crate) fn forget_refusals(&mut self) {
        self.0.values_mut().for_each(|cell| cell.refused.clear());
    }

    /// The end of an instance is in the database: the cell need not keep it.
    pub(crate) fn forget(&mut self, id: &CellId, instance: &str) {
        if let Some(cell) = self.0.get_mut(id) {
            cell.statuses
                .iter_mut()
                .for_each(|known| _ = known.remove(instance));
            cell.courier.forget(instance);
        }
    }

    /// Whether requests may go to an instance, as far as its cell is concerned. Of a cell that is silent the last
    /// word counts, and its silence about an instance nothing: apps run on without the platform.
    pub(crate) fn may_serve(&self, id: &CellId, instance: &str) -> bool {
        let Some(cell) = self.0.get(id) else { return false };
        let Some(statuses) = &cell.statuses else {
            return true;
        };
        match statuses.get(instance) {
            Some(status) => status.phase() == InstancePhase::Running && status.ready,
            None => matches!(cell.link, Link::Away { .. }),
        }
    }

    /// The cells as the planner wants them, and when the next lease of a silent one runs out.
    pub(crate) fn states(&self, lease: Duration) -> (Vec<CellState>, Option<Instant>) {
        let someone_else = self.0.values().any(|cell| matches!(cell.link, Link::Up));
        let mut next = None;
        let mut health = |cell: &Cell| match cell.link {
            Link::Up => CellHealth::Alive,
            Link::Away { since } if since.elapsed() >= lease && someone_else => CellHealth::Lost,
            Link::Away { since } => {
                if since.elapsed() < lease {
                    let due = since + lease;
                    next = Some(next.map_or(due, |earlier: Instant| earlier.min(due)));
                }
                CellHealth::Unknown
            }
        };
        let states = self
            .0
            .iter()
            .map(|(id, cell)| CellState {
                id: id.clone(),
                capacity: cell.capacity(),
                architecture: cell
                    .description
                    .as_ref()
                    .map_or_else(String::new, |d| d.architecture.clone()),
                health: health(cell),
                held: cell.held(),
            })
            .collect();
        (states, next)
    }
}

impl Cell {
    fn capacity(&self) -> Resources {
        self.description
            .as_ref()
            .map_or_else(Resources::default, |d| Resources {
                memory_mb: d.memory_mb,
                disk_mb: d.disk_mb,
                containers: u64::from(d.containers),
            })
    }

    fn held(&self) -> Option<Vec<Held>> {
        let present = |status: &&InstanceStatus| status.phase() != InstancePhase::Ended;
        let held = |status: &InstanceStatus| Held {
            instance: InstanceGuid::new(&status.instance_guid),
            since_ns: status.since_ns,
        };
        let statuses = self.statuses.as_ref()?;
        Some(statuses.values().filter(present).map(held).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    fn cells(ids: &[&str]) -> Cells {
        let mut cells = Cells::default();
        for id in ids {
            cells.add(CellId::new(*id), Courier::default());
        }
        cells
    }

    fn tell(cells: &mut Cells, cell: &str, news: News) {
        cells.hear(Report {
            cell: CellId::new(cell),
            news,
        });
    }

    fn instance(guid: &str, phase: InstancePhase) -> News {
        News::Instance(Box::new(InstanceStatus {
            instance_guid: guid.to_owned(),
            phase: phase.into(),
            ..InstanceStatus::default()
        }))
    }

    fn health(cells: &Cells) -> Vec<CellHealth> {
        cells.states(LEASE).0.iter().map(|state| state.health).collect()
    }

    fn sync(cells: &mut Cells, cell: &str, instances: &[&str]) {
        tell(cells, cell, News::Connected(CellDescription::default()));
        for guid in instances {
            tell(cells, cell, instance(guid, InstancePhase::Running));
        }
        tell(cells, cell, News::Synced);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_cell_is_lost_after_its_lease_if_another_is_alive() {
        let mut cells = cells(&["a", "b"]);
        assert_eq!(health(&cells), [CellHealth::Unknown; 2]);
        tokio::time::advance(LEASE).await;
        assert_eq!(health(&cells), [CellHealth::Unknown; 2], "nowhere to go");
        sync(&mut cells, "a", &[]);
        assert_eq!(health(&cells), [CellHealth::Alive, CellHealth::Lost]);
        sync(&mut cells, "b", &[]);
        tell(&mut cells, "a", News::Disconnected);
        assert_eq!(health(&cells), [CellHealth::Unknown, CellHealth::Alive]);
        assert_eq!(cells.states(LEASE).1, Some(Instant::now() + LEASE));
        tokio::time::advance(LEASE).await;
        assert_eq!(health(&cells), [CellHealth::Lost, CellHealth::Alive]);
    }

    #[tokio::test]
    async fn a_full_report_replaces_what_was_known_when_it_is_complete() {
        let mut cells = cells(&["a"]);
        sync(&mut cells, "a", &["x", "y"]);
        tell(&mut cells, "a", News::Connected(CellDescription::default()));
        tell(&mut cells, "a", instance("x", InstancePhase::Running));
        let held = |cells: &Cells| cells.states(LEASE).0[0].held.as_ref().unwrap().len();
        assert_eq!(held(&cells), 2);
        tell(&mut cells, "a", News::Synced);
        assert_eq!(held(&cells), 1);
        tell(&mut cells, "a", instance("x", InstancePhase::Ended));
        assert_eq!(held(&cells), 0);
        assert_eq!(cells.statuses().count(), 1);
        cells.forget(&CellId::new("a"), "x");
        assert_eq!(cells.statuses().count(), 0);
    }
}
