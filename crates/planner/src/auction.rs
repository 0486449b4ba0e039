//! Which cell gets an instance.
//!
//! The reference's auction (cloudfoundry/auction:auctionrunner/{scheduler,cell,sortable_auctions}.go): index 0 of
//! every process goes first, so that each app is up with one instance before any has two, then larger memory
//! first, because big pieces fit worse later. A cell's score, lower wins, with U what would be in use afterwards
//! and T the total:
//!
//! `(U_mem/T_mem + U_disk/T_disk + U_cont/T_cont)/3 + 0.25·starting + 1000·instances of the same process version`
//!
//! The last term spreads a process over all cells that have room. CPU is not a resource. Ties go to the cell listed
//! first. Instances of one process are placed in one go: all cells are scored once, then only the chosen cell's
//! score changes, so a heap finds the next.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use model::{CellId, InstanceGuid};

use crate::{CellHealth, CellState, Resources};

const STARTING_WEIGHT: f64 = 0.25;
const SAME_PROCESS_WEIGHT: f64 = 1000.0;

/// An instance that needs a cell.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The instance.
    pub instance: InstanceGuid,
    /// Number of its process version: the same for instances to be spread, different for others. Requests of one
    /// group have the same needs.
    pub group: usize,
    /// Its index.
    pub index: u32,
    /// What it takes.
    pub size: Resources,
    /// Architecture it needs; `None` runs anywhere.
    pub architecture: Option<&'a str>,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This cell gets it.
    Placed(CellId),
    /// There is no room now, but there will be when the instances being stopped are gone.
    Waiting,
    /// No cell can take it.
    Failed(PlacementError),
}

/// Why no cell can take an instance. The texts are the reference's: users and tools know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// No cell is there at all.
    #[error("unable to communicate to compatible cells")]
    NoCells,
    /// No cell has the architecture.
    #[error("found no compatible cell for required rootfs")]
    NoCompatibleCell,
    /// No cell has room; what is short on *every* one of them is named.
    #[error("insufficient resources{}", shortage_text(.0))]
    Insufficient(Shortage),
}

/// What is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    disk: bool,
    memory: bool,
    containers: bool,
}

/// Cells with what is free on them; instances placed in one run count in the next.
pub struct Auction {
    cells: Vec<Offer>,
    at: HashMap<CellId, usize>,
    /// Per group, how many instances which cell has.
    spread: HashMap<usize, HashMap<usize, u32>>,
}

struct Offer {
    id: CellId,
    architecture: String,
    total: Resources,
    free: Resources,
    /// Held by instances that are being stopped.
    releasing: Resources,
    /// Part of free and releasing that requests already wait for.
    promised: Resources,
    starting: u32,
}

/// Orders cells so that a max-heap yields the lowest score, then the first listed.
struct Bid {
    score: f64,
    cell: usize,
}

impl Auction {
    /// An auction over the cells that take work, all empty.
    pub fn new(cells: &[CellState]) -> Self {
        let offers: Vec<Offer> = cells
            .iter()
            .filter(|cell| cell.health == CellHealth::Alive)
            .map(Offer::empty)
            .collect();
        let at = offers
            .iter()
            .enumerate()
            .map(|(n, offer)| (offer.id.clone(), n))
            .collect();
        Self {
            cells: offers,
            at,
            spread: HashMap::new(),
        }
    }

    /// Notes an instance that the cell has and keeps. Cells that take no work are ignored.
    pub fn occupy(&mut self, cell: &CellId, group: usize, size: Resources) {
        if let Some(&n) = self.at.get(cell) {
            self.cells[n].free = self.cells[n].free.minus(size);
            *self.spread.entry(group).or_default().entry(n).or_default() += 1;
        }
    }

    /// Notes that one of the instances the cell has is still starting.
    pub fn starting(&mut self, cell: &CellId) {
        if let Some(&n) = self.at.get(cell) {
            self.cells[n].starting += 1;
        }
    }

    /// Notes an instance that the cell has, but which is being stopped.
    pub fn release(&mut self, cell: &CellId, size: Resources) {
        if let Some(&n) = self.at.get(cell) {
            self.cells[n].free = self.cells[n].free.minus(size);
            self.cells[n].releasing = self.cells[n].releasing.plus(size);
        }
    }

    /// Finds a cell for each request, in the order the module describes.
    pub fn run(&mut self, mut requests: Vec<Request<'_>>) -> Vec<(InstanceGuid, Outcome)> {
        requests.sort_by(|a, b| order(a).cmp(&order(b)));
        let mut outcomes = Vec::with_capacity(requests.len());
        for run in requests.chunk_by(|a, b| a.group == b.group) {
            let results = self.place_run(run);
            outcomes.extend(run.iter().map(|request| request.instance.clone()).zip(results));
        }
        outcomes
    }

    /// Places requests of one group.
    fn place_run(&mut self, run: &[Request<'_>]) -> Vec<Outcome> {
        let Some(first) = run.first() else {
            return Vec::new();
        };
        let mut spread = self.spread.remove(&first.group).unwrap_or_default();
        let mut heap: BinaryHeap<Bid> = (0..self.cells.len())
            .filter(|&n| self.cells[n].suits(first) && self.cells[n].free.covers(first.size))
            .map(|n| Bid {
                score: self.cells[n].score(first.size, spread.get(&n)),
                cell: n,
            })
            .collect();
        let mut outcomes = Vec::with_capacity(run.len());
        while outcomes.len() < run.len() {
            let Some(Bid { cell: n, .. }) = heap.pop() else {
                break;
            };
            let count = spread.entry(n).or_default();
            *count += 1;
            let cell = &mut self.cells[n];
            cell.free = cell.free.minus(first.size);
            cell.starting += 1;
            outcomes.push(Outcome::Placed(cell.id.clone()));
            if cell.free.covers(first.size) {
                heap.push(Bid {
                    score: cell.score(first.size, Some(count)),
                    cell: n,
                });
            }
        }
        self.spread.insert(first.group, spread);
        while outcomes.len() < run.len() {
            outcomes.push(self.wait_or_fail(first));
        }
        outcomes
    }

    /// For a request that fits nowhere now.
    fn wait_or_fail(&mut self, request: &Request<'_>) -> Outcome {
        let mut suiting = self.cells.iter_mut().filter(|cell| cell.suits(request));
        let later = |cell: &&mut Offer| {
            cell.free
                .plus(cell.releasing)
                .minus(cell.promised)
                .covers(request.size)
        };
        if let Some(cell) = suiting.find(later) {
            cell.promised = cell.promised.plus(request.size);
            return Outcome::Waiting;
        }
        Outcome::Failed(self.why_not(request))
    }

    fn why_not(&self, request: &Request<'_>) -> PlacementError {
        if self.cells.is_empty() {
            return PlacementError::NoCells;
        }
        let shortages = self
            .cells
            .iter()
            .filter(|cell| cell.suits(request))
            .map(|cell| cell.shortage(request.size));
        let common = shortages.reduce(|a, b| Shortage {
            disk: a.disk && b.disk,
            memory: a.memory && b.memory,
            containers: a.containers && b.containers,
        });
        common.map_or(PlacementError::NoCompatibleCell, PlacementError::Insufficient)
    }
}

impl Offer {
    fn empty(cell: &CellState) -> Self {
        Self {
            id: cell.id.clone(),
            architecture: cell.architecture.clone(),
            total: cell.capacity,
            free: cell.capacity,
            releasing: Resources::default(),
            promised: Resources::default(),
            starting: 0,
        }
    }

    fn suits(&self, request: &Request<'_>) -> bool {
        request
            .architecture
            .is_none_or(|wanted| wanted == self.architecture)
    }

    fn score(&self, size: Resources, same: Option<&u32>) -> f64 {
        let used = self.total.minus(self.free.minus(size));
        let part = |used: u64, total: u64| {
            if total == 0 {
                1.0
            } else {
                used as f64 / total as f64
            }
        };
        let fractions = part(used.memory_mb, self.total.memory_mb)
            + part(used.disk_mb, self.total.disk_mb)
            + part(used.containers, self.total.containers);
        let same = same.copied().unwrap_or_default();
        fractions / 3.0 + STARTING_WEIGHT * f64::from(self.starting) + SAME_PROCESS_WEIGHT * f64::from(same)
    }

    fn shortage(&self, size: Resources) -> Shortage {
        Shortage {
            disk: self.free.disk_mb < size.disk_mb,
            memory: self.free.memory_mb < size.memory_mb,
            containers: self.free.containers < size.containers,
        }
    }
}

impl Ord for Bid {
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .score
            .total_cmp(&self.score)
            .then_with(|| other.cell.cmp(&self.cell))
    }
}

impl PartialOrd for Bid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Bid {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Bid {}

/// First indices first, then larger memory; within it instances of one process stay together.
fn order<'r>(request: &'r Request<'_>) -> (bool, std::cmp::Reverse<u64>, usize, u32, &'r str) {
    let memory = std::cmp::Reverse(request.size.memory_mb);
    (
        request.index > 0,
        memory,
        request.group,
        request.index,
        request.instance.as_str(),
    )
}

fn shortage_text(short: &Shortage) -> String {
    let named = [
        (short.disk, "disk"),
        (short.memory, "memory"),
        (short.containers, "containers"),
    ];
    let words: Vec<&str> = named
        .into_iter()
        .filter(|(is_short, _)| *is_short)
        .map(|(_, word)| word)
        .collect();
    if words.is_empty() {
        String::new()
    } else {
        format!(": {}", words.join(", "))
    }
}

#[cfg(test)]
#[path = "auction_tests.rs"]
mod tests;
