//! One row, one word of its cell.

use super::*;
use crate::rows::sample;

const SEC: i64 = 1_000_000_000;
const NOW: i64 = 1_000_000 * SEC;

fn status(phase: InstancePhase, exit: Option<Exit>) -> InstanceStatus {
    InstanceStatus {
        instance_guid: "i".to_owned(),
        phase: phase.into(),
        ready: true,
        address: "10.1.0.2".to_owned(),
        ports: vec![8080, 9090],
        since_ns: NOW - SEC,
        exit,
        ..InstanceStatus::default()
    }
}

fn crashed() -> Exit {
    Exit {
        crashed: true,
        description: "APP/PROC/WEB: Exited with status 1".to_owned(),
        status: 1,
        ..Exit::default()
    }
}

/// Settles one status into one row of cell `c`; the rows after it, and what follows.
fn settled(row: Model, status: &InstanceStatus) -> (Rows, &'static str) {
    let mut rows: Rows = [row].into_iter().collect();
    let consequence = match settle(&mut rows, &CellId::new("c"), status, NOW) {
        Consequence::None => "none",
        Consequence::Forget => "forget",
        Consequence::Crashed(_) => "crashed",
    };
    (rows, consequence)
}

#[test]
fn a_running_instance_makes_its_claimed_row_run() {
    let row = sample("i", LrpState::Claimed, Some("c"));
    let (rows, consequence) = settled(row, &status(InstancePhase::Running, None));
    let row = rows.get("i").unwrap();
    assert_eq!(
        (consequence, state_of(row), row.ready),
        ("none", LrpState::Running, true)
    );
    assert_eq!(
        (row.address.as_deref(), row.ports.as_str()),
        (Some("10.1.0.2"), "[8080,9090]")
    );
    assert_eq!(row.since_ns, NOW - SEC);
}

#[test]
fn readiness_comes_and_goes_without_touching_the_time() {
    let row = Model {
        since_ns: 5,
        ..sample("i", LrpState::Running, Some("c"))
    };
    let unready = InstanceStatus {
        ready: false,
        ..status(InstancePhase::Running, None)
    };
    let (rows, _) = settled(row, &unready);
    assert_eq!(
        (rows.get("i").unwrap().ready, rows.get("i").unwrap().since_ns),
        (false, 5)
    );
}

#[test]
fn words_of_another_cell_change_nothing() {
    for phase in [
        InstancePhase::Starting,
        InstancePhase::Running,
        InstancePhase::Ended,
    ] {
        let exit = (phase == InstancePhase::Ended).then(crashed);
        let row = sample("i", LrpState::Running, Some("other"));
        let (rows, consequence) = settled(row.clone(), &status(phase, exit));
        assert_eq!(rows.get("i"), Some(&row), "{phase:?}");
        assert_eq!(consequence == "forget", phase == InstancePhase::Ended);
    }
    // Nor of one that was not given the instance: the planner gives it to one first.
    let row = sample("i", LrpState::Unclaimed, None);
    let (rows, _) = settled(row.clone(), &status(InstancePhase::Running, None));
    assert_eq!(rows.get("i"), Some(&row));
}

#[test]
fn an_end_that_was_asked_for_removes_the_row() {
    for state in LrpState::ALL.into_iter().filter(|s| *s != LrpState::Crashed) {
        for exit in [None, Some(Exit::default())] {
            let (rows, consequence) =
                settled(sample("i", state, Some("c")), &status(InstancePhase::Ended, exit));
            assert!(rows.get("i").is_none() && consequence == "forget", "{state}");
        }
    }
}

#[test]
fn a_crash_counts_and_waits_as_the_planner_says() {
    let end = status(InstancePhase::Ended, Some(crashed()));
    for (state, before, since_ns, count, wait) in [
        (LrpState::Claimed, 0, NOW, 1, None),
        (LrpState::Running, 2, NOW - 60 * SEC, 3, Some(30)),
        (LrpState::Running, 7, NOW - 600 * SEC, 1, None),
        (LrpState::Claimed, 7, NOW - 600 * SEC, 8, Some(960)),
        (LrpState::Running, 199, NOW, 200, None),
    ] {
        let row = Model {
            crash_count: before,
            since_ns,
            address: Some("10.1.0.2".to_owned()),
            ready: true,
            ..sample("i", state, Some("c"))
        };
        let (rows, consequence) = settled(row, &end);
        let row = rows.get("i").unwrap();
        assert_eq!(
            (consequence, state_of(row), row.crash_count),
            ("crashed", LrpState::Crashed, count)
        );
        assert_eq!(row.retry_at_ns, wait.map(|secs| NOW + secs * SEC));
        assert!(row.cell_id.is_none() && row.address.is_none() && !row.ready);
        assert_eq!(
            row.crash_reason.as_deref(),
            Some("APP/PROC/WEB: Exited with status 1")
        );
    }
}

#[test]
fn a_crash_told_twice_counts_once() {
    let row = Model {
        crash_count: 3,
        ..sample("i", LrpState::Crashed, None)
    };
    let (rows, consequence) = settled(row.clone(), &status(InstancePhase::Ended, Some(crashed())));
    assert_eq!((rows.get("i"), consequence), (Some(&row), "forget"));
}

#[test]
fn a_fault_of_the_platform_is_no_crash() {
    let fault = Exit {
        not_app_fault: true,
        description: "registry away".to_owned(),
        ..crashed()
    };
    let row = Model {
        crash_count: 2,
        ..sample("i", LrpState::Claimed, Some("c"))
    };
    let (rows, consequence) = settled(row, &status(InstancePhase::Ended, Some(fault)));
    let row = rows.iter().next().unwrap();
    assert_eq!(
        (consequence, state_of(row), row.crash_count),
        ("forget", LrpState::Unclaimed, 2)
    );
    assert_ne!(row.guid, "i", "ids of containers are never used again");
    assert_eq!(row.retry_at_ns, Some(NOW + 10 * SEC));
    assert_eq!(row.placement_error.as_deref(), Some("registry away"));
}

#[test]
fn a_refused_instance_is_offered_again_later() {
    let cell = CellId::new("c");
    let mut rows: Rows = [sample("i", LrpState::Claimed, Some("c"))].into_iter().collect();
    refuse(&mut rows, &cell, "i", ("no room", NOW));
    let row = rows.get("i").unwrap().clone();
    assert_eq!(
        (state_of(&row), row.cell_id.as_deref()),
        (LrpState::Unclaimed, None)
    );
    assert_eq!(
        (row.placement_error.as_deref(), row.retry_at_ns),
        (Some("no room"), Some(NOW + 2 * SEC))
    );
    // Too late: it was decided otherwise.
    refuse(&mut rows, &cell, "i", ("no room", NOW + SEC));
    assert_eq!(rows.get("i"), Some(&row));
}

#[test]
fn reasons_are_cut_between_characters() {
    assert_eq!(cut(&"ü".repeat(1000)).len(), LONGEST_REASON);
    assert_eq!(cut(&format!("x{}", "ü".repeat(1000))).len(), LONGEST_REASON - 1);
}
