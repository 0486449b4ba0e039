//! Properties of one pass over any picture, also impossible ones: rows of damaged databases, doubles, cells that lie.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use model::{CellId, InstanceGuid, LrpState, ProcessGuid};
use planner::{
    Action, ActualLrp, CellHealth, CellState, DesiredLrp, DockerFlag, Held, Lifecycle, Resources, Snapshot,
    converge,
};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;

const SEC: i64 = 1_000_000_000;
const NOW: i64 = 1_000_000 * SEC;

fn desired() -> impl Strategy<Value = Vec<DesiredLrp>> {
    let one = (
        0..3u8,
        0..5u32,
        50..400u64,
        any::<bool>(),
        select(vec![None, Some("amd64"), Some("arm64")]),
    );
    prop::collection::vec(one, 0..4).prop_map(|all| {
        let one = |(n, (version, instances, memory_mb, docker, architecture)): (
            usize,
            (u8, u32, u64, bool, Option<&str>),
        )| {
            DesiredLrp {
                process: format!("p{n}").into(),
                version: format!("v{version}"),
                instances,
                memory_mb,
                disk_mb: 10,
                lifecycle: if docker {
                    Lifecycle::Docker
                } else {
                    Lifecycle::Buildpack
                },
                architecture: architecture.map(str::to_owned),
            }
        };
        all.into_iter().enumerate().map(one).collect()
    })
}

fn actual() -> impl Strategy<Value = Vec<ActualLrp>> {
    let slot = (0..5u8, 0..3u8, 0..6u32);
    let life = (
        select(LrpState::ALL.to_vec()),
        prop::option::of(0..5u8),
        0..210u32,
        -100..2000i64,
    );
    let rest = (
        prop::option::of(-10..100i64),
        prop::option::of((0..300u64, 0..20u64)),
    );
    let one = (slot, life, rest).prop_map(
        |((process, version, index), (state, cell, crash_count, ago), rest)| {
            let slot = (format!("p{process}").into(), format!("v{version}"), index);
            ActualLrp {
                state,
                cell: cell.map(|c| format!("c{c}").into()),
                crash_count,
                since_ns: NOW - ago * SEC,
                retry_at_ns: rest.0.map(|at| NOW + at * SEC),
                // Only a container has a size of its own; what waits takes what the process says when it is placed.
                size: rest
                    .1
                    .filter(|_| matches!(state, LrpState::Claimed | LrpState::Running)),
                ..unclaimed("".into(), slot)
            }
        },
    );
    prop::collection::vec(one, 0..25).prop_map(|mut all| {
        for (n, row) in all.iter_mut().enumerate() {
            row.instance = format!("i{n}").into();
        }
        all
    })
}

/// A row nothing has happened to.
fn unclaimed(instance: InstanceGuid, (process, version, index): (ProcessGuid, String, u32)) -> ActualLrp {
    ActualLrp {
        instance,
        process,
        version,
        index,
        state: LrpState::Unclaimed,
        cell: None,
        crash_count: 0,
        since_ns: NOW,
        placement_error: None,
        retry_at_ns: None,
        size: None,
    }
}

fn cells() -> impl Strategy<Value = Vec<CellState>> {
    use CellHealth::{Alive, Evacuating, Lost, Unknown};
    let held = prop::option::of(prop::collection::btree_set(0..30u8, 0..8));
    let one = (
        (0..2000u64, 0..100u64, 0..10u64),
        select(vec![Alive, Alive, Alive, Evacuating, Lost, Unknown]),
        select(vec!["amd64", "arm64"]),
        held,
        0..20i64,
    );
    prop::collection::vec(one, 0..5).prop_map(|all| {
        let mut cells = Vec::new();
        for (n, ((memory_mb, disk_mb, containers), health, architecture, held, age)) in
            all.into_iter().enumerate()
        {
            let since_ns = NOW - age * SEC;
            let held = held.map(|all| {
                all.into_iter()
                    .map(|i| Held {
                        instance: format!("i{i}").into(),
                        since_ns,
                    })
                    .collect()
            });
            cells.push(CellState {
                id: format!("c{n}").into(),
                capacity: Resources {
                    memory_mb,
                    disk_mb,
                    containers,
                },
                architecture: architecture.into(),
                health,
                held,
            });
        }
        cells
    })
}

fn pictures() -> impl Strategy<Value = Snapshot> {
    (desired(), actual(), cells(), any::<bool>()).prop_map(|(desired, actual, cells, docker)| {
        let docker = if docker {
            DockerFlag::Enabled
        } else {
            DockerFlag::Disabled
        };
        Snapshot {
            now_ns: NOW,
            docker,
            desired,
            actual,
            cells,
        }
    })
}

fn plan(snapshot: &Snapshot, prefix: &str) -> Vec<Action> {
    let mut last = 0;
    converge(snapshot, &mut || {
        last += 1;
        InstanceGuid::new(format!("{prefix}{last}"))
    })
}

/// The rows as they are once the scheduler has done its part and no cell has answered yet.
fn apply(snapshot: &Snapshot, actions: &[Action]) -> Snapshot {
    let mut rows: BTreeMap<InstanceGuid, ActualLrp> = snapshot
        .actual
        .iter()
        .map(|row| (row.instance.clone(), row.clone()))
        .collect();
    for action in actions {
        match action {
            Action::Retire { instance, .. } => drop(rows.remove(instance).expect("the row exists")),
            Action::Create {
                instance,
                process,
                version,
                index,
            } => {
                let row = unclaimed(instance.clone(), (process.clone(), version.clone(), *index));
                assert!(rows.insert(instance.clone(), row).is_none());
            }
            Action::Restart {
                instance,
                replacement,
                ..
            } => {
                let row = rows.remove(instance).expect("the row exists");
                let fresh = unclaimed(replacement.clone(), (row.process, row.version, row.index));
                let row = ActualLrp {
                    crash_count: row.crash_count,
                    ..fresh
                };
                assert!(rows.insert(replacement.clone(), row).is_none());
            }
            Action::Place { instance, cell } => {
                let row = rows.get_mut(instance).expect("the row exists");
                assert_eq!(row.state, LrpState::Unclaimed);
                (row.state, row.cell, row.since_ns) = (LrpState::Claimed, Some(cell.clone()), NOW);
            }
            Action::PlacementFailed { instance, error } => {
                rows.get_mut(instance).expect("the row exists").placement_error = Some(error.clone());
            }
            Action::Stop { .. } | Action::RunAgain { .. } | Action::WakeAt(_) => {}
        }
    }
    Snapshot {
        actual: rows.into_values().collect(),
        ..snapshot.clone()
    }
}

fn is_off(snapshot: &Snapshot, desired: &DesiredLrp) -> bool {
    snapshot.docker == DockerFlag::Disabled && desired.lifecycle == Lifecycle::Docker
}

/// Instances that lose their life in this plan, with the cell when it matters.
fn ended(actions: &[Action]) -> BTreeSet<(&InstanceGuid, Option<&CellId>)> {
    let mut all = BTreeSet::new();
    for action in actions {
        match action {
            Action::Stop { instance, cell, .. } => drop(all.insert((instance, Some(cell)))),
            Action::Retire { instance, .. } => drop(all.insert((instance, None))),
            _ => {}
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn the_same_picture_gives_the_same_plan(picture in pictures()) {
        prop_assert_eq!(plan(&picture, "n"), plan(&picture, "n"));
    }

    #[test]
    fn every_wanted_index_ends_with_one_row_that_is_kept(picture in pictures()) {
        let actions = plan(&picture, "n");
        let after = apply(&picture, &actions);
        let ended = ended(&actions);
        for desired in picture.desired.iter().filter(|d| !is_off(&picture, d)) {
            for index in 0..desired.instances {
                let of_index = |row: &&ActualLrp| {
                    row.process == desired.process && row.version == desired.version && row.index == index
                };
                let kept = |row: &&ActualLrp| {
                    let cell = row.cell.as_ref().filter(|_| row.state != LrpState::Crashed);
                    !ended.contains(&(&row.instance, cell)) && !ended.contains(&(&row.instance, None))
                };
                // A loser on a cell nobody can judge stays until that cell's fate is known.
                let judged = |row: &&ActualLrp| row.cell.as_ref().is_none_or(|id| {
                    picture.cells.iter().any(|c| c.id == *id && c.health != CellHealth::Unknown)
                });
                let rows = after.actual.iter().filter(of_index).filter(kept);
                prop_assert!(rows.clone().count() >= 1, "{} {index} has no row", desired.process);
                prop_assert!(rows.filter(judged).count() <= 1, "{} {index} has several rows", desired.process);
            }
        }
    }

    #[test]
    fn nobody_is_both_ended_and_begun(picture in pictures()) {
        let actions = plan(&picture, "n");
        let ended = ended(&actions);
        prop_assert_eq!(ended.len(), actions.iter()
            .filter(|a| matches!(a, Action::Stop { .. } | Action::Retire { .. })).count(), "nobody is ended twice");
        for action in &actions {
            if let Action::Place { instance, cell } | Action::RunAgain { instance, cell } = action {
                prop_assert!(!ended.contains(&(instance, Some(cell))) && !ended.contains(&(instance, None)));
            }
            if let Action::Restart { instance, .. } = action {
                prop_assert!(!ended.contains(&(instance, None)));
            }
        }
        let wakes = actions.iter().filter(|a| matches!(a, Action::WakeAt(_))).count();
        prop_assert!(wakes == 0 || wakes == 1 && matches!(actions.last(), Some(Action::WakeAt(_))));
    }

    #[test]
    fn a_running_instance_that_is_wanted_is_never_touched_on_a_living_cell(picture in pictures()) {
        // Alone in its slot, on a cell that has it: nothing may happen to it, whatever else is wrong.
        let actions = plan(&picture, "n");
        for row in picture.actual.iter().filter(|row| row.state == LrpState::Running) {
            let alone = picture.actual.iter().filter(|other| {
                (&other.process, &other.version, other.index) == (&row.process, &row.version, row.index)
            }).count() == 1;
            let wanted = picture.desired.iter().any(|d| {
                d.process == row.process && d.version == row.version && row.index < d.instances && !is_off(&picture, d)
            });
            let lives = picture.cells.iter().any(|cell| {
                Some(&cell.id) == row.cell.as_ref()
                    && matches!(cell.health, CellHealth::Alive | CellHealth::Evacuating)
                    && cell.held.as_ref().is_none_or(|held| held.iter().any(|h| h.instance == row.instance))
            });
            if alone && wanted && lives {
                let touches = |action: &&Action| match action {
                    Action::Stop { instance, cell, .. } => *instance == row.instance && Some(cell) == row.cell.as_ref(),
                    Action::Retire { instance, .. } | Action::Restart { instance, .. } => *instance == row.instance,
                    _ => false,
                };
                prop_assert_eq!(actions.iter().find(touches), None);
            }
        }
    }

    #[test]
    fn no_placement_overfills_a_cell(picture in pictures()) {
        let actions = plan(&picture, "n");
        let after = apply(&picture, &actions);
        let sizes: HashMap<_, _> = picture.desired.iter().map(|d| (&d.process, (d.memory_mb, d.disk_mb))).collect();
        for cell in &picture.cells {
            let placed: Vec<_> = actions.iter().filter_map(|action| match action {
                Action::Place { instance, cell: at } if *at == cell.id => Some(instance),
                _ => None,
            }).collect();
            let held = |i: &InstanceGuid| cell.held.iter().flatten().any(|h| h.instance == *i);
            let chosen: Vec<_> = placed.iter().filter(|i| !held(i)).collect();
            if chosen.is_empty() {
                continue;
            }
            prop_assert_eq!(cell.health, CellHealth::Alive);
            let here = after.actual.iter().filter(|row| {
                row.cell.as_ref() == Some(&cell.id) && matches!(row.state, LrpState::Claimed | LrpState::Running)
            });
            let size = |row: &ActualLrp| row.size.or(sizes.get(&row.process).copied()).unwrap_or_default();
            let memory: u64 = here.clone().map(|row| size(row).0).sum();
            let disk: u64 = here.map(|row| size(row).1).sum();
            prop_assert!(memory <= cell.capacity.memory_mb && disk <= cell.capacity.disk_mb);
        }
    }

    #[test]
    fn a_second_pass_begins_nothing_new(picture in pictures()) {
        let after = apply(&picture, &plan(&picture, "n"));
        for action in plan(&after, "m") {
            let new = matches!(action, Action::Create { .. } | Action::Restart { .. } | Action::Retire { .. }
                | Action::Place { .. });
            prop_assert!(!new, "{action:?}");
        }
    }
}
