//! Actions on the rows of one pass.

use super::*;
use crate::rows::{sample, state_of};
use planner::StopReason;

const NOW: i64 = 5_000;

fn specs() -> Specs {
    let spec = InstanceSpec {
        process_version: "v".to_owned(),
        argv: vec!["run".to_owned()],
        ..InstanceSpec::default()
    };
    let damaged = Err(SpecError::Sealed(auth::SealError::Malformed));
    [("v".to_owned(), Ok(spec)), ("bad".to_owned(), damaged)]
        .into_iter()
        .collect()
}

fn carried_out(rows: &mut Rows, actions: Vec<Action>) -> Orders {
    let pinned = PinnedCache::default();
    let mut hands = Hands {
        rows,
        pinned: &pinned,
        now_ns: NOW,
        orders: Orders::default(),
    };
    hands.carry_out(actions, &specs());
    hands.orders
}

fn create(version: &str) -> Action {
    Action::Create {
        instance: "n".into(),
        process: "p".into(),
        version: version.to_owned(),
        index: 3,
    }
}

fn place() -> Action {
    Action::Place {
        instance: "n".into(),
        cell: "c".into(),
    }
}

#[test]
fn a_created_row_is_claimed_and_ordered_with_its_index() {
    let mut rows = Rows::default();
    let orders = carried_out(&mut rows, vec![create("v"), place()]);
    let row = rows.get("n").unwrap();
    assert_eq!(
        (state_of(row), row.cell_id.as_deref(), row.since_ns),
        (LrpState::Claimed, Some("c"), NOW)
    );
    let (cell, spec) = &orders.run[0];
    assert_eq!(
        (cell.as_str(), spec.instance_guid.as_str(), spec.index),
        ("c", "n", 3)
    );
    assert_eq!(spec.argv, ["run"]);
}

#[test]
fn a_version_that_cannot_be_opened_says_so_and_waits() {
    for version in ["bad", "gone"] {
        let mut rows = Rows::default();
        let orders = carried_out(&mut rows, vec![create(version), place()]);
        let row = rows.get("n").unwrap();
        assert!(orders.run.is_empty());
        assert_eq!(
            (state_of(row), row.cell_id.as_deref()),
            (LrpState::Unclaimed, None)
        );
        assert!(row.retry_at_ns.is_some() && row.placement_error.is_some());
    }
}

#[test]
fn a_restart_keeps_the_crash_count_and_nothing_of_the_container() {
    let before = Model {
        crash_count: 4,
        ready: true,
        address: Some("10.0.0.1".to_owned()),
        placement_error: Some("x".to_owned()),
        retry_at_ns: Some(1),
        ..sample("i", LrpState::Running, Some("c"))
    };
    let mut rows: Rows = [before].into_iter().collect();
    let restart = Action::Restart {
        instance: "i".into(),
        replacement: "n".into(),
        cause: RestartCause::Vanished,
    };
    carried_out(&mut rows, vec![restart]);
    let wanted = Model {
        crash_count: 4,
        since_ns: NOW,
        ..sample("n", LrpState::Unclaimed, None)
    };
    assert!(rows.get("i").is_none());
    assert_eq!(rows.get("n"), Some(&wanted));
}

#[test]
fn the_other_actions() {
    let mut rows: Rows = [
        sample("i", LrpState::Claimed, Some("c")),
        sample("j", LrpState::Unclaimed, None),
        sample("k", LrpState::Crashed, None),
    ]
    .into_iter()
    .collect();
    let actions = vec![
        Action::Stop {
            instance: "i".into(),
            cell: "c".into(),
            reason: StopReason::Surplus,
        },
        Action::Retire {
            instance: "k".into(),
            reason: StopReason::Surplus,
        },
        Action::RunAgain {
            instance: "i".into(),
            cell: "c".into(),
        },
        Action::PlacementFailed {
            instance: "j".into(),
            error: "insufficient resources".to_owned(),
        },
        Action::WakeAt(7),
    ];
    let (before, after) = split(actions);
    assert_eq!((before.len(), after.len()), (2, 3));
    assert_eq!(versions(&after, &rows).into_iter().collect::<Vec<_>>(), ["v"]);
    let first = carried_out(&mut rows, before);
    let second = carried_out(&mut rows, after);
    assert_eq!(first.stop.len(), 1);
    assert!(
        rows.get("i").is_some() && rows.get("k").is_none(),
        "a stopped row stays until the end is reported"
    );
    assert_eq!(second.run[0].1.instance_guid, "i");
    assert_eq!(
        rows.get("j").unwrap().placement_error.as_deref(),
        Some("insufficient resources")
    );
    assert_eq!(second.wake_ns, Some(7));
}
