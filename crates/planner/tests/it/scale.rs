//! Size: a large platform starts cold in one pass, and what runs is left alone by the next.

use std::collections::HashMap;

use model::{InstanceGuid, LrpState};
use planner::{
    Action, ActualLrp, CellHealth, CellState, DesiredLrp, DockerFlag, Lifecycle, Resources, Snapshot,
    converge,
};

fn platform(cells: usize, processes: usize, instances: u32) -> Snapshot {
    let cell = |n| CellState {
        id: format!("cell-{n:04}").into(),
        capacity: Resources {
            memory_mb: 64_000,
            disk_mb: 500_000,
            containers: 250,
        },
        architecture: "amd64".into(),
        health: CellHealth::Alive,
        held: None,
    };
    let process = |n: usize| DesiredLrp {
        process: format!("process-{n:06}").into(),
        version: "v".into(),
        instances,
        memory_mb: [64, 128, 256][n % 3],
        disk_mb: 256,
        lifecycle: Lifecycle::Docker,
        architecture: Some("amd64".into()),
    };
    Snapshot {
        now_ns: 0,
        docker: DockerFlag::Enabled,
        desired: (0..processes).map(process).collect(),
        actual: Vec::new(),
        cells: (0..cells).map(cell).collect(),
    }
}

#[test]
fn a_cold_start_of_a_large_platform_is_planned_in_one_pass() {
    // Full to the last container: what is placed badly early cannot be placed late.
    let snapshot = platform(400, 10_000, 10);
    let mut last = 0u64;
    let actions = converge(&snapshot, &mut || {
        last += 1;
        InstanceGuid::new(last.to_string())
    });
    assert_eq!(
        actions
            .iter()
            .filter(|a| matches!(a, Action::Create { .. }))
            .count(),
        100_000
    );
    assert_eq!(
        actions
            .iter()
            .filter(|a| matches!(a, Action::Place { .. }))
            .count(),
        100_000
    );
    assert_eq!(actions.len(), 200_000);
    let ran = running(snapshot, actions);
    assert_eq!(converge(&ran, &mut || panic!("nothing new is needed")), []);
}

/// The same platform once everything placed runs.
fn running(snapshot: Snapshot, actions: Vec<Action>) -> Snapshot {
    let mut slots = HashMap::new();
    let mut actual = Vec::new();
    for action in actions {
        match action {
            Action::Create {
                instance,
                process,
                version,
                index,
            } => {
                slots.insert(instance, (process, version, index));
            }
            Action::Place { instance, cell } => {
                let (process, version, index) = slots.remove(&instance).expect("created before it is placed");
                actual.push(ActualLrp {
                    instance,
                    process,
                    version,
                    index,
                    state: LrpState::Running,
                    cell: Some(cell),
                    crash_count: 0,
                    since_ns: 0,
                    placement_error: None,
                    retry_at_ns: None,
                    size: None,
                });
            }
            other => panic!("{other:?} in a cold start"),
        }
    }
    Snapshot { actual, ..snapshot }
}
