//! Years of bad days in seconds.

use model::LrpState;
use planner::{Action, RestartCause, StopReason};

use crate::world::{Faults, SEC, World};

const BAD_DAY: Faults = Faults {
    crash: 0.02,
    lose_order: 0.2,
    lose_cell: 0.01,
    change_desired: 0.3,
};

/// Lets the world calm down; crashed instances wait for their back-off, at most 16 min.
fn settle(world: &mut World) {
    world.heal();
    for _ in 0..300 {
        let actions = world.step(Faults::NONE);
        world.check_always();
        let idle = world.rows.values().all(|row| row.state == LrpState::Running);
        match actions.as_slice() {
            [] if idle => return,
            [] | [Action::WakeAt(_)] => world.skip_to_timer(),
            _ => {}
        }
    }
    let unsettled: Vec<_> = world
        .rows
        .values()
        .filter(|row| row.state != LrpState::Running)
        .take(5)
        .collect();
    panic!("not settled after 300 steps: {unsettled:?}");
}

#[test]
fn whatever_happens_the_world_comes_to_order() {
    for seed in 0..20 {
        let mut world = World::new(seed, 8, 20);
        for _ in 0..400 {
            world.step(BAD_DAY);
            world.check_always();
        }
        settle(&mut world);
        world.check_settled();
        assert!(
            world.step(Faults::NONE).is_empty(),
            "seed {seed}: a settled world stays settled"
        );
    }
}

#[test]
fn the_bad_days_are_bad_enough() {
    let mut world = World::new(7, 8, 20);
    for _ in 0..2000 {
        world.step(BAD_DAY);
    }
    let reasons = [
        StopReason::Surplus,
        StopReason::OldVersion,
        StopReason::DockerDisabled,
        StopReason::Unknown,
    ];
    for reason in reasons {
        assert!(world.stops(reason) > 0, "{reason:?} never happened");
    }
    for wanted in [
        RestartCause::Crashed,
        RestartCause::CellLost,
        RestartCause::Vanished,
    ] {
        let happened = world
            .log
            .iter()
            .any(|a| matches!(a, Action::Restart { cause, .. } if *cause == wanted));
        assert!(happened, "{wanted:?} never happened");
    }
    assert!(world.log.iter().any(|a| matches!(a, Action::RunAgain { .. })));
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let tell = |seed| {
        let mut world = World::new(seed, 6, 12);
        (0..300).for_each(|_| drop(world.step(BAD_DAY)));
        world.log
    };
    assert_eq!(tell(3), tell(3));
    assert_ne!(tell(3), tell(4));
}

#[test]
fn a_fresh_world_is_spread_evenly() {
    let mut world = World::new(1, 9, 40);
    settle(&mut world);
    world.check_settled();
    for (least, most) in world.spread() {
        assert!(most - least <= 1, "{least}..{most}");
    }
    let memory = world.memory();
    let (least, most) = (memory.iter().min().unwrap(), memory.iter().max().unwrap());
    assert!(most - least <= 2 * 256, "memory per cell: {memory:?}");
}

#[test]
fn without_room_instances_wait_and_say_why() {
    let mut world = World::new(1, 1, 1);
    (world.desired[0].instances, world.desired[0].memory_mb) = (5, 3000);
    let run = |world: &mut World, wanted: usize| {
        for _ in 0..20 {
            world.step(Faults::NONE);
        }
        let running = world
            .rows
            .values()
            .filter(|row| row.state == LrpState::Running)
            .count();
        assert_eq!(running, wanted);
        let errors = world
            .rows
            .values()
            .filter_map(|row| row.placement_error.as_deref());
        assert!(
            errors
                .clone()
                .all(|error| error == "insufficient resources: memory")
        );
        errors.count()
    };
    assert_eq!(run(&mut world, 2), 3);
    world.desired[0].instances = 2;
    assert_eq!(run(&mut world, 2), 0);
    // A new version of the same size gets the room the old one leaves, one way or the other.
    world.desired[0].version = "next".into();
    assert_eq!(run(&mut world, 2), 0);
    world.check_settled();
}

#[test]
fn crash_loops_slow_down_and_end() {
    let mut world = World::new(1, 1, 2);
    world.desired.remove(0);
    let always = Faults {
        crash: 1.0,
        ..Faults::NONE
    };
    let begin = world.now_ns;
    let mut restarts = Vec::new();
    for _ in 0..2000 {
        let actions = world.step(always);
        if actions.iter().any(|a| matches!(a, Action::Restart { .. })) {
            restarts.push((world.now_ns - begin) / SEC);
        }
        if matches!(actions.as_slice(), [Action::WakeAt(_)]) {
            world.skip_to_timer();
        }
    }
    let gaps: Vec<i64> = restarts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(restarts.len(), 199, "given up after the 200th crash");
    assert!(gaps[0] <= 2, "{gaps:?}");
    for (gap, wanted) in gaps[1..].iter().zip([30, 60, 120, 240, 480, 960, 960, 960]) {
        assert!((wanted..=wanted + 2).contains(gap), "{gap} instead of {wanted}");
    }
    assert_eq!(
        world.rows.values().map(|row| row.state).collect::<Vec<_>>(),
        [LrpState::Crashed]
    );
}
