//! One rule at a time; whole runs are in the simulation (`tests/it`).

use super::*;
use crate::Held;

const SEC: i64 = 1_000_000_000;
const NOW: i64 = 1_000_000 * SEC;
const LONG_AGO: i64 = NOW - 3600 * SEC;

fn desired(instances: u32) -> DesiredLrp {
    DesiredLrp {
        process: "p".into(),
        version: "v2".into(),
        instances,
        memory_mb: 100,
        disk_mb: 100,
        lifecycle: Lifecycle::Docker,
        architecture: None,
    }
}

fn cell(id: &str) -> CellState {
    CellState {
        id: id.into(),
        capacity: Resources {
            memory_mb: 1000,
            disk_mb: 1000,
            containers: 10,
        },
        architecture: "amd64".into(),
        health: CellHealth::Alive,
        held: None,
    }
}

fn holding(id: &str, instances: &[&str]) -> CellState {
    let held = instances
        .iter()
        .map(|&i| Held {
            instance: i.into(),
            since_ns: LONG_AGO,
        })
        .collect();
    CellState {
        held: Some(held),
        ..cell(id)
    }
}

fn row(instance: &str, index: u32, state: LrpState) -> ActualLrp {
    ActualLrp {
        instance: instance.into(),
        process: "p".into(),
        version: "v2".into(),
        index,
        state,
        cell: matches!(state, LrpState::Claimed | LrpState::Running).then(|| "a".into()),
        crash_count: 0,
        since_ns: LONG_AGO,
        placement_error: None,
        retry_at_ns: None,
        size: None,
    }
}

fn world(desired: Vec<DesiredLrp>, actual: Vec<ActualLrp>, cells: Vec<CellState>) -> Snapshot {
    Snapshot {
        now_ns: NOW,
        docker: DockerFlag::Enabled,
        desired,
        actual,
        cells,
    }
}

/// The actions in short: `create n1 p/v2/0`, `place n1 a`…
fn plan(snapshot: &Snapshot) -> Vec<String> {
    let mut last = 0;
    let mut new_guid = || {
        last += 1;
        InstanceGuid::new(format!("n{last}"))
    };
    let short = |action| match action {
        Action::Stop {
            instance,
            cell,
            reason,
        } => format!("stop {instance} {cell} {reason:?}"),
        Action::Retire { instance, reason } => format!("retire {instance} {reason:?}"),
        Action::Create {
            instance,
            process,
            version,
            index,
        } => {
            format!("create {instance} {process}/{version}/{index}")
        }
        Action::Restart {
            instance,
            replacement,
            cause,
        } => format!("restart {instance} {replacement} {cause:?}"),
        Action::Place { instance, cell } => format!("place {instance} {cell}"),
        Action::RunAgain { instance, cell } => format!("again {instance} {cell}"),
        Action::PlacementFailed { instance, error } => format!("fail {instance} {error}"),
        Action::WakeAt(at) => format!("wake {}", (at - NOW) / SEC),
    };
    converge(snapshot, &mut new_guid).into_iter().map(short).collect()
}

#[test]
fn missing_indices_are_created_and_placed() {
    let snapshot = world(
        vec![desired(3)],
        vec![row("r1", 1, LrpState::Running)],
        vec![cell("a"), cell("b")],
    );
    assert_eq!(
        plan(&snapshot),
        ["create n1 p/v2/0", "create n2 p/v2/2", "place n1 b", "place n2 a"]
    );
}

#[test]
fn a_world_in_order_needs_nothing() {
    for state in [LrpState::Claimed, LrpState::Running] {
        let snapshot = world(
            vec![desired(1)],
            vec![row("r", 0, state)],
            vec![holding("a", &["r"])],
        );
        assert_eq!(plan(&snapshot), [""; 0], "{state}");
    }
}

#[test]
fn what_is_not_wanted_is_stopped_or_retired() {
    let old = |row: ActualLrp| ActualLrp {
        version: "v1".into(),
        ..row
    };
    let gone = |row: ActualLrp| ActualLrp {
        process: "gone".into(),
        ..row
    };
    let table = [
        (gone(row("r", 0, LrpState::Running)), "stop r a NotDesired"),
        (gone(row("r", 0, LrpState::Claimed)), "stop r a NotDesired"),
        (gone(row("r", 0, LrpState::Unclaimed)), "retire r NotDesired"),
        (gone(row("r", 0, LrpState::Crashed)), "retire r NotDesired"),
        (old(row("r", 0, LrpState::Running)), "stop r a OldVersion"),
        (old(row("r", 0, LrpState::Crashed)), "retire r OldVersion"),
        (row("r", 1, LrpState::Running), "stop r a Surplus"),
        (row("r", 1, LrpState::Unclaimed), "retire r Surplus"),
    ];
    for (unwanted, wanted) in table {
        let kept = row("k", 0, LrpState::Running);
        let snapshot = world(vec![desired(1)], vec![unwanted, kept], vec![cell("a")]);
        assert_eq!(plan(&snapshot), [wanted]);
    }
}

#[test]
fn a_new_version_starts_at_once_beside_the_old() {
    let old = ActualLrp {
        version: "v1".into(),
        crash_count: 9,
        ..row("r", 0, LrpState::Running)
    };
    let snapshot = world(vec![desired(1)], vec![old], vec![cell("a")]);
    assert_eq!(
        plan(&snapshot),
        ["stop r a OldVersion", "create n1 p/v2/0", "place n1 a"]
    );
}

#[test]
fn a_new_version_waits_without_an_error_for_the_room_of_the_old() {
    let big = DesiredLrp {
        memory_mb: 800,
        ..desired(1)
    };
    let old = ActualLrp {
        version: "v1".into(),
        ..row("r", 0, LrpState::Running)
    };
    let snapshot = world(vec![big.clone()], vec![old], vec![cell("a")]);
    assert_eq!(plan(&snapshot), ["stop r a OldVersion", "create n1 p/v2/0"]);
    let other = ActualLrp {
        process: "other".into(),
        size: Some((800, 0)),
        ..row("o", 0, LrpState::Running)
    };
    let foreign = DesiredLrp {
        process: "other".into(),
        ..desired(1)
    };
    let snapshot = world(vec![big, foreign], vec![other], vec![cell("a")]);
    assert_eq!(
        plan(&snapshot),
        ["create n1 p/v2/0", "fail n1 insufficient resources: memory"]
    );
}

#[test]
fn the_docker_flag_stops_image_apps_only() {
    let source = DesiredLrp {
        process: "q".into(),
        lifecycle: Lifecycle::Buildpack,
        ..desired(1)
    };
    let rows = vec![row("r", 0, LrpState::Running), row("c", 1, LrpState::Crashed)];
    let mut snapshot = world(vec![desired(2), source], rows, vec![cell("a")]);
    snapshot.docker = DockerFlag::Disabled;
    let off = plan(&snapshot);
    assert_eq!(
        off,
        [
            "stop r a DockerDisabled",
            "retire c DockerDisabled",
            "create n1 q/v2/0",
            "place n1 a"
        ]
    );
    snapshot.docker = DockerFlag::Enabled;
    snapshot.actual.clear();
    snapshot.desired.truncate(1);
    assert_eq!(plan(&snapshot)[..2], ["create n1 p/v2/0", "create n2 p/v2/1"]);
}

#[test]
fn of_two_the_one_further_along_stays_then_the_newer() {
    let newer = |row: ActualLrp| ActualLrp {
        since_ns: LONG_AGO + 1,
        ..row
    };
    let table = [
        (
            row("x", 0, LrpState::Running),
            newer(row("y", 0, LrpState::Running)),
            "stop x a Duplicate",
        ),
        (
            row("x", 0, LrpState::Running),
            newer(row("y", 0, LrpState::Claimed)),
            "stop y a Duplicate",
        ),
        (
            row("x", 0, LrpState::Claimed),
            newer(row("y", 0, LrpState::Claimed)),
            "stop x a Duplicate",
        ),
        (
            row("x", 0, LrpState::Running),
            newer(row("y", 0, LrpState::Unclaimed)),
            "retire y Duplicate",
        ),
        (
            row("x", 0, LrpState::Crashed),
            newer(row("y", 0, LrpState::Running)),
            "retire x Duplicate",
        ),
    ];
    for (x, y, wanted) in table {
        for rows in [vec![x.clone(), y.clone()], vec![y.clone(), x.clone()]] {
            assert_eq!(plan(&world(vec![desired(1)], rows, vec![cell("a")])), [wanted]);
        }
    }
}

#[test]
fn a_row_on_a_lost_cell_is_not_kept_for_one_that_starts() {
    let dead = || row("x", 0, LrpState::Running);
    let starting = || ActualLrp {
        cell: Some("b".into()),
        ..row("y", 0, LrpState::Claimed)
    };
    let lost = CellState {
        health: CellHealth::Lost,
        ..cell("a")
    };
    for a in [lost, holding("a", &[])] {
        let snapshot = world(vec![desired(1)], vec![dead(), starting()], vec![a, cell("b")]);
        assert_eq!(plan(&snapshot), ["retire x Duplicate"]);
    }
}

#[test]
fn a_crashed_row_waits_for_its_time() {
    let crashed = |crash_count, ago: i64| ActualLrp {
        crash_count,
        since_ns: NOW - ago * SEC,
        ..row("r", 0, LrpState::Crashed)
    };
    let again = vec!["restart r n1 Crashed", "place n1 a"];
    let explicit = |at: i64| ActualLrp {
        retry_at_ns: Some(NOW + at * SEC),
        ..crashed(1, 0)
    };
    let table = [
        (crashed(1, 0), again.clone()),
        (crashed(2, 0), again.clone()),
        (crashed(3, 0), vec!["wake 30"]),
        (crashed(3, 29), vec!["wake 1"]),
        (crashed(3, 30), again.clone()),
        (crashed(8, 0), vec!["wake 960"]),
        (crashed(200, 1_000_000), vec![]),
        (explicit(7), vec!["wake 7"]),
        (explicit(0), again),
    ];
    for (crashed, wanted) in table {
        assert_eq!(
            plan(&world(vec![desired(1)], vec![crashed.clone()], vec![cell("a")])),
            wanted,
            "{crashed:?}"
        );
    }
}

#[test]
fn the_earliest_timer_wins() {
    let crashed = |name, index, crash_count| ActualLrp {
        crash_count,
        since_ns: NOW,
        ..row(name, index, LrpState::Crashed)
    };
    let rows = vec![crashed("x", 0, 5), crashed("y", 1, 4), crashed("z", 2, 6)];
    assert_eq!(plan(&world(vec![desired(3)], rows, vec![cell("a")])), ["wake 60"]);
}

#[test]
fn cells_of_every_health() {
    let with = |health| CellState { health, ..cell("a") };
    for state in [LrpState::Claimed, LrpState::Running] {
        let at = |health| {
            plan(&world(
                vec![desired(1)],
                vec![row("r", 0, state)],
                vec![with(health), cell("b")],
            ))
        };
        assert_eq!(at(CellHealth::Lost), ["restart r n1 CellLost", "place n1 b"]);
        for left_alone in [CellHealth::Unknown, CellHealth::Evacuating, CellHealth::Alive] {
            assert_eq!(at(left_alone), [""; 0], "{left_alone:?}");
        }
        let unlisted = world(vec![desired(1)], vec![row("r", 0, state)], vec![cell("b")]);
        assert_eq!(plan(&unlisted), [""; 0]);
        // Not wanted any more: nobody waits for a lost cell, nobody judges an unknown one.
        let at = |health| plan(&world(vec![], vec![row("r", 0, state)], vec![with(health)]));
        assert_eq!(at(CellHealth::Lost), ["retire r NotDesired"]);
        assert_eq!(at(CellHealth::Unknown), [""; 0]);
        assert_eq!(at(CellHealth::Evacuating), ["stop r a NotDesired"]);
    }
}

#[test]
fn a_lost_order_is_repeated_and_a_lost_container_replaced() {
    let at = |state, age: i64| {
        let row = ActualLrp {
            since_ns: NOW - age * SEC,
            ..row("r", 0, state)
        };
        plan(&world(vec![desired(1)], vec![row], vec![holding("a", &[])]))
    };
    assert_eq!(at(LrpState::Claimed, 1), ["wake 4"]);
    assert_eq!(at(LrpState::Running, 1), ["wake 4"]);
    assert_eq!(at(LrpState::Claimed, 5), ["again r a"]);
    assert_eq!(at(LrpState::Running, 5), ["restart r n1 Vanished", "place n1 a"]);
    // A row from the future, by a clock ahead of ours, waits no longer than the grace.
    assert_eq!(at(LrpState::Running, -1000), ["wake 5"]);
}

#[test]
fn an_unwanted_row_whose_container_is_gone_is_retired() {
    let snapshot = world(
        vec![],
        vec![row("r", 0, LrpState::Running)],
        vec![holding("a", &[])],
    );
    assert_eq!(plan(&snapshot), ["retire r NotDesired"]);
}

#[test]
fn containers_without_a_row_are_stopped_after_the_grace() {
    let mut snapshot = world(vec![], vec![], vec![holding("a", &["x"])]);
    assert_eq!(plan(&snapshot), ["stop x a Unknown"]);
    snapshot.cells[0].held = Some(vec![Held {
        instance: "x".into(),
        since_ns: NOW - SEC,
    }]);
    assert_eq!(plan(&snapshot), ["wake 4"]);
    snapshot.cells[0].health = CellHealth::Lost;
    assert_eq!(plan(&snapshot), [""; 0]);
}

#[test]
fn an_instance_on_two_cells_stays_on_its_rows() {
    let cells = vec![holding("b", &["r"]), holding("a", &["r"])];
    let snapshot = world(vec![desired(1)], vec![row("r", 0, LrpState::Running)], cells);
    assert_eq!(plan(&snapshot), ["stop r b Unknown"]);
}

#[test]
fn an_unclaimed_row_goes_to_the_cell_that_has_it() {
    let unclaimed = || row("r", 0, LrpState::Unclaimed);
    let cells = || vec![cell("a"), holding("b", &["r"]), holding("c", &["r"])];
    let snapshot = world(vec![desired(1)], vec![unclaimed()], cells());
    assert_eq!(plan(&snapshot), ["stop r c Unknown", "place r b"]);
    let snapshot = world(vec![], vec![unclaimed()], cells());
    assert_eq!(
        plan(&snapshot),
        ["retire r NotDesired", "stop r b Unknown", "stop r c Unknown"]
    );
}

#[test]
fn a_placement_error_is_written_once() {
    let waiting = |error: Option<&str>| {
        let row = ActualLrp {
            placement_error: error.map(str::to_owned),
            ..row("r", 0, LrpState::Unclaimed)
        };
        let arm = DesiredLrp {
            architecture: Some("arm64".into()),
            ..desired(1)
        };
        plan(&world(vec![arm], vec![row], vec![cell("a")]))
    };
    let text = "found no compatible cell for required rootfs";
    assert_eq!(waiting(None), [format!("fail r {text}")]);
    assert_eq!(
        waiting(Some("insufficient resources")),
        [format!("fail r {text}")]
    );
    assert_eq!(waiting(Some(text)), [""; 0]);
}

#[test]
fn a_pause_after_a_platform_fault_is_kept() {
    let paused = ActualLrp {
        retry_at_ns: Some(NOW + 10 * SEC),
        ..row("r", 0, LrpState::Unclaimed)
    };
    let mut snapshot = world(vec![desired(1)], vec![paused], vec![cell("a")]);
    assert_eq!(plan(&snapshot), ["wake 10"]);
    snapshot.now_ns += 10 * SEC;
    assert_eq!(plan(&snapshot), ["place r a"]);
}

#[test]
fn one_pass_creates_a_bounded_number_of_rows() {
    let tiny = DesiredLrp {
        memory_mb: 0,
        disk_mb: 0,
        ..desired(u32::MAX)
    };
    let plan = plan(&world(vec![tiny], vec![], vec![]));
    assert_eq!(
        plan.iter().filter(|action| action.starts_with("create")).count(),
        MAX_CREATED
    );
    assert_eq!(plan.last().unwrap(), "wake 0");
}
