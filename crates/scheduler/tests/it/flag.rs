//! The feature flag `diego_docker`.

use std::time::Duration;

use tokio::time::Instant;

use crate::cell::A_WHILE;
use crate::fixture::House;

#[tokio::test]
async fn switching_docker_off_stops_all_at_once_and_on_brings_them_back() {
    let house = House::start().await;
    house.running_app(8).await;
    let mut router = house.watch_routes().await;
    router.until("shop.apps.example", 8).await;
    let runs = house.cell.runs();

    let started = Instant::now();
    house.set_docker(false).await;
    house
        .cell
        .until("stopped all", |cell| cell.stopped().len() == 8)
        .await;
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    router.until("shop.apps.example", 0).await;
    house.all_in("RUNNING", 0).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(house.cell.runs(), runs, "nothing starts while the flag is off");

    house.set_docker(true).await;
    house.run_all(8).await;
    router.until("shop.apps.example", 8).await;
}

#[tokio::test]
async fn a_scheduler_that_starts_with_docker_off_starts_nothing() {
    let mut house = House::furnished(crate::fixture::Options::default()).await;
    house.land().await;
    house.set_docker(false).await;
    let app = house.app("shop", 2).await;
    house.start_app(&app).await;
    house.start_scheduler();
    let mut router = house.watch_routes().await;
    router.until("shop.apps.example", 0).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(house.cell.runs(), 0);
    house.set_docker(true).await;
    house.run_all(2).await;
}
