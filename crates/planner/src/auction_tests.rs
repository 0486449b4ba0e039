//! Filters, scores, order and error texts of the auction.

use super::*;

fn room(memory_mb: u64, disk_mb: u64, containers: u64) -> Resources {
    Resources {
        memory_mb,
        disk_mb,
        containers,
    }
}

fn cell(id: &str, capacity: Resources) -> CellState {
    CellState {
        id: id.into(),
        capacity,
        architecture: "amd64".into(),
        health: CellHealth::Alive,
        held: None,
    }
}

fn wants(group: usize, index: u32, memory_mb: u64) -> Request<'static> {
    let instance = format!("g{group}-{index}").into();
    let size = Resources::of_instance(memory_mb, 100);
    Request {
        instance,
        group,
        index,
        size,
        architecture: None,
    }
}

/// `instance→cell` for each request, in the order of the auction; `-` waits, `!` fails.
fn run(auction: &mut Auction, requests: Vec<Request<'_>>) -> Vec<String> {
    let text = |(instance, outcome)| match outcome {
        Outcome::Placed(cell) => format!("{instance}→{cell}"),
        Outcome::Waiting => format!("{instance}-"),
        Outcome::Failed(why) => format!("{instance}! {why}"),
    };
    auction.run(requests).into_iter().map(text).collect()
}

#[test]
fn first_indices_come_first_then_the_bigger() {
    let mut auction = Auction::new(&[cell("a", room(10_000, 10_000, 100))]);
    let requests = vec![
        wants(0, 1, 100),
        wants(1, 1, 300),
        wants(0, 0, 100),
        wants(1, 0, 300),
        wants(1, 2, 300),
    ];
    let order: Vec<String> = auction
        .run(requests)
        .into_iter()
        .map(|(i, _)| i.to_string())
        .collect();
    assert_eq!(order, ["g1-0", "g0-0", "g1-1", "g1-2", "g0-1"]);
}

#[test]
fn instances_of_a_process_spread_before_they_share() {
    let big = cell("big", room(100_000, 100_000, 1000));
    let mut auction = Auction::new(&[
        big,
        cell("b", room(2000, 2000, 10)),
        cell("c", room(2000, 2000, 10)),
    ]);
    let got = run(&mut auction, (0..5).map(|index| wants(0, index, 100)).collect());
    assert_eq!(got, ["g0-0→big", "g0-1→b", "g0-2→c", "g0-3→big", "g0-4→b"]);
}

#[test]
fn existing_instances_and_starting_ones_count() {
    let cells = [cell("a", room(1000, 1000, 10)), cell("b", room(1000, 1000, 10))];
    let mut auction = Auction::new(&cells);
    auction.occupy(&"a".into(), 0, Resources::of_instance(100, 100));
    assert_eq!(run(&mut auction, vec![wants(0, 1, 100)]), ["g0-1→b"]);
    let mut auction = Auction::new(&cells);
    auction.starting(&"a".into());
    assert_eq!(run(&mut auction, vec![wants(0, 0, 100)]), ["g0-0→b"]);
}

#[test]
fn what_is_short_everywhere_is_named() {
    let error = |cells: &[CellState], request: Request<'_>| {
        run(&mut Auction::new(cells), vec![request])
            .remove(0)
            .split_once("! ")
            .unwrap()
            .1
            .to_owned()
    };
    let small = room(10, 10, 0);
    let no_memory = room(10, 1000, 10);
    let no_disk = room(1000, 10, 10);
    for (capacities, text) in [
        (vec![small], "insufficient resources: disk, memory, containers"),
        (vec![small, no_memory], "insufficient resources: memory"),
        (vec![no_memory, no_disk], "insufficient resources"),
        (vec![no_disk, no_disk], "insufficient resources: disk"),
        (vec![], "unable to communicate to compatible cells"),
    ] {
        let cells: Vec<_> = capacities
            .iter()
            .enumerate()
            .map(|(n, c)| cell(&n.to_string(), *c))
            .collect();
        assert_eq!(error(&cells, wants(0, 0, 100)), text);
    }
    let arm = Request {
        architecture: Some("arm64"),
        ..wants(0, 0, 100)
    };
    assert_eq!(
        error(&[cell("a", room(1000, 1000, 10))], arm),
        "found no compatible cell for required rootfs"
    );
}

#[test]
fn the_architecture_decides_before_the_score() {
    let arm = CellState {
        architecture: "arm64".into(),
        ..cell("arm", room(500, 500, 5))
    };
    let mut auction = Auction::new(&[cell("amd", room(10_000, 10_000, 100)), arm]);
    let needs = |architecture| Request {
        architecture,
        ..wants(0, 0, 100)
    };
    assert_eq!(run(&mut auction, vec![needs(Some("arm64"))]), ["g0-0→arm"]);
    assert_eq!(run(&mut auction, vec![needs(Some("amd64"))]), ["g0-0→amd"]);
}

#[test]
fn only_living_cells_take_work() {
    for health in [CellHealth::Evacuating, CellHealth::Unknown, CellHealth::Lost] {
        let closed = CellState {
            health,
            ..cell("a", room(1000, 1000, 10))
        };
        assert_eq!(
            run(&mut Auction::new(&[closed]), vec![wants(0, 0, 1)]),
            ["g0-0! unable to communicate to compatible cells"]
        );
    }
}

#[test]
fn room_being_freed_is_waited_for_but_promised_once() {
    let mut auction = Auction::new(&[cell("a", room(250, 1000, 10))]);
    auction.release(&"a".into(), Resources::of_instance(200, 100));
    let got = run(&mut auction, (0..3).map(|index| wants(0, index, 100)).collect());
    assert_eq!(got, ["g0-0-", "g0-1-", "g0-2! insufficient resources: memory"]);
}

#[test]
fn a_cell_without_any_memory_is_no_nan() {
    let mut auction = Auction::new(&[cell("a", room(0, 1000, 10)), cell("b", room(0, 1000, 10))]);
    assert_eq!(
        run(&mut auction, vec![wants(0, 0, 0), wants(0, 1, 0)]),
        ["g0-0→a", "g0-1→b"]
    );
}
