//! Kills, silences and disagreements.

use std::time::Duration;

use tokio::time::Instant;
use wire::v1::InstancePhase;

use crate::cell::A_WHILE;
use crate::fixture::{House, Options, PATIENCE};

#[tokio::test]
async fn a_killed_scheduler_goes_on_where_it_was() {
    let mut house = House::start().await;
    house.land().await;
    let app = house.app("shop", 3).await;
    house.start_app(&app).await;
    house
        .cell
        .until("was given three", |cell| cell.specs().len() == 3)
        .await;
    house.kill_scheduler().await;
    // Meanwhile one starts to run, and one crashes.
    let guids: Vec<String> = house
        .cell
        .specs()
        .into_iter()
        .map(|spec| spec.instance_guid)
        .collect();
    house.cell.run(&guids[0]);
    house.cell.crash(&guids[1]);
    let scheduler = house.start_scheduler();
    house.run_all(3).await;
    assert!(scheduler.is_ready());
    let rows = house.all_in("RUNNING", 3).await;
    assert!(
        rows.iter().any(|row| row.guid == guids[0]),
        "what ran was left alone"
    );
    assert!(
        rows.iter().any(|row| row.guid == guids[2]),
        "what started was left alone"
    );
    assert_eq!(rows.iter().map(|row| row.crash_count).sum::<i64>(), 1);
    assert_eq!(house.cell.runs(), 4);
}

#[tokio::test]
async fn kills_at_any_moment_lose_nothing() {
    let mut house = House::furnished(Options::default()).await;
    house.land().await;
    let app = house.app("shop", 5).await;
    house.start_app(&app).await;
    for round in 0..12 {
        house.start_scheduler();
        house.cell.run_all();
        tokio::time::sleep(Duration::from_millis(3 * round)).await;
        house.kill_scheduler().await;
    }
    house.start_scheduler();
    house.run_all(5).await;
    assert_eq!(house.cell.runs(), 5, "each was started once");
}

#[tokio::test]
async fn a_cell_that_is_away_for_a_moment_keeps_its_instances_and_routes() {
    let mut house = House::furnished(Options::default()).await;
    house.start_scheduler();
    let app = house.running_app(2).await;
    let mut router = house.watch_routes().await;
    router.until("shop.apps.example", 2).await;
    house.served = None;
    house.scale(&app, 3).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(
        house
            .instances("rows", |_| true)
            .await
            .iter()
            .filter(|row| row.state == "RUNNING")
            .count(),
        2
    );
    assert_eq!(router.table["shop.apps.example"].len(), 2);
    house.served = Some(house.cell.serve(&house.socket("cell-0")));
    house.run_all(3).await;
    assert_eq!(house.cell.runs(), 3, "the two went on");
}

#[tokio::test]
async fn containers_nobody_knows_are_stopped() {
    let mut house = House::furnished(Options::default()).await;
    house.land().await;
    house.cell.invent("stray");
    house.start_scheduler();
    house
        .cell
        .until("stopped the stray", |cell| cell.has_forgotten("stray"))
        .await;
}

#[tokio::test]
async fn an_instance_its_cell_lost_starts_anew_without_a_crash() {
    let mut house = House::start().await;
    house.running_app(1).await;
    let lost = house.cell.specs()[0].instance_guid.clone();
    house.kill_scheduler().await;
    house.cell.lose(&lost);
    house.cell.set_eager();
    house.start_scheduler();
    let began = Instant::now();
    let rows = house
        .instances("a successor", |rows| {
            rows[0].guid != lost && rows[0].state == "RUNNING"
        })
        .await;
    assert_eq!(rows[0].crash_count, 0);
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(house.cell.in_phase(InstancePhase::Running).len(), 1);
}

#[tokio::test]
async fn a_deleted_app_leaves_nothing_behind() {
    let house = House::start().await;
    let app = house.running_app(2).await;
    let mut router = house.watch_routes().await;
    router.until("shop.apps.example", 2).await;
    let tx = house.store.write().await.unwrap();
    tx.delete::<store::app::Entity>(&app.guid).await.unwrap();
    tx.commit().await.unwrap();
    house.all_in("RUNNING", 0).await;
    router.until("shop.apps.example", 0).await;
    house
        .cell
        .until("forgot all", |cell| cell.specs().is_empty())
        .await;
}

#[tokio::test]
async fn instances_of_a_lost_cell_move_and_its_containers_end_when_it_returns() {
    let mut house = House::furnished(Options {
        cell_lease: Duration::from_millis(1500),
        ..Options::default()
    })
    .await;
    let (second, served) = house.second_cell();
    house.cell.set_eager();
    second.set_eager();
    house.start_scheduler();
    house.land().await;
    let app = house.app("shop", 2).await;
    house.start_app(&app).await;
    let rows = house.all_in("RUNNING", 2).await;
    let there = |id| {
        rows.iter()
            .find(|row| row.cell_id.as_deref() == Some(id))
            .unwrap()
            .clone()
    };
    let (stays, moves) = (there("cell-0"), there("cell-1"));
    drop(served);
    let moved = house
        .instances("both on one cell", |rows| {
            rows.len() == 2
                && rows
                    .iter()
                    .all(|row| row.state == "RUNNING" && row.cell_id.as_deref() == Some("cell-0"))
        })
        .await;
    assert!(moved.iter().any(|row| row.guid == stays.guid) && moved.iter().all(|row| row.guid != moves.guid));
    assert!(moved.iter().all(|row| row.crash_count == 0));

    let _served = second.serve(&house.socket("cell-1"));
    second.until("was freed", |cell| cell.specs().is_empty()).await;
    assert_eq!(second.stopped(), [moves.guid]);
}

#[tokio::test]
async fn a_lone_cell_is_never_given_up() {
    let mut house = House::furnished(Options {
        cell_lease: Duration::from_millis(50),
        ..Options::default()
    })
    .await;
    house.start_scheduler();
    house.running_app(1).await;
    let before = house.all_in("RUNNING", 1).await;
    house.served = None;
    tokio::time::sleep(A_WHILE).await;
    house.set_docker(true).await;
    assert_eq!(house.all_in("RUNNING", 1).await[0].guid, before[0].guid);
}

#[tokio::test]
async fn rows_of_a_cell_that_was_taken_away_start_elsewhere() {
    let mut house = House::start().await;
    house.running_app(1).await;
    house.kill_scheduler().await;
    let (second, _served) = house.second_cell();
    second.set_eager();
    house.cells.retain(|id| *id == "cell-1");
    house.start_scheduler();
    house
        .instances("one on the other cell", |rows| {
            rows[0].state == "RUNNING" && rows[0].cell_id.as_deref() == Some("cell-1")
        })
        .await;
}

#[tokio::test]
async fn a_cell_under_a_wrong_name_gets_no_work() {
    let mut house = House::furnished(Options::default()).await;
    house.cells = vec!["cell-9"];
    let _stranger = house.cell.serve(&house.socket("cell-9"));
    let scheduler = house.start_scheduler();
    house.land().await;
    let app = house.app("shop", 1).await;
    house.start_app(&app).await;
    house.all_in("UNCLAIMED", 1).await;
    tokio::time::sleep(A_WHILE).await;
    assert!(house.cell.specs().is_empty() && !scheduler.is_ready());
}
