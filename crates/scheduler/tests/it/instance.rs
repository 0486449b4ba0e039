//! From a started app to its instances, and back.

use store::actual_lrp;
use wire::v1::{Exit, InstancePhase};

use crate::cell::FakeCell;
use crate::fixture::House;

#[tokio::test]
async fn a_started_app_is_placed_and_runs() {
    let house = House::start().await;
    house.land().await;
    let app = house.app("shop", 2).await;
    let version = house.start_app(&app).await;
    house
        .cell
        .until("was given two", |cell: &FakeCell| cell.specs().len() == 2)
        .await;
    let claimed = house.all_in("CLAIMED", 2).await;
    assert!(
        claimed
            .iter()
            .all(|row| row.cell_id.as_deref() == Some("cell-0") && row.memory_mb == 100)
    );
    let mut specs = house.cell.specs();
    specs.sort_by_key(|spec| spec.index);
    for (index, spec) in specs.iter().enumerate() {
        assert_eq!(spec.index as usize, index);
        assert_eq!((&spec.process_version, &spec.process_guid), (&version, &app.guid));
        assert_eq!((spec.argv[0].as_str(), spec.ports[0]), ("serve", 8080));
        assert!(
            claimed
                .iter()
                .any(|row| row.guid == spec.instance_guid && row.instance_index == index as i64)
        );
    }
    house.cell.run_all();
    let running = house.all_in("RUNNING", 2).await;
    assert!(
        running
            .iter()
            .all(|row| row.ready && row.address.is_some() && row.ports == "[8080]")
    );
}

#[tokio::test]
async fn scaling_starts_and_stops_the_highest_indices() {
    let house = House::start().await;
    let app = house.running_app(1).await;
    house.scale(&app, 3).await;
    house.run_all(3).await;
    house.scale(&app, 1).await;
    let left = house.all_in("RUNNING", 1).await;
    assert_eq!(left[0].instance_index, 0);
    let stopped = house.cell.stopped();
    assert_eq!(stopped.len(), 2);
    house
        .cell
        .until("forgot both", |cell| {
            stopped.iter().all(|guid| cell.has_forgotten(guid))
        })
        .await;
}

#[tokio::test]
async fn a_restart_replaces_all_instances() {
    let house = House::start().await;
    let app = house.running_app(2).await;
    house.cell.set_eager();
    let version = house.start_app(&app).await;
    house
        .instances("two of the new version", |rows| {
            rows.len() == 2
                && rows
                    .iter()
                    .all(|row| row.process_version == version && row.state == "RUNNING")
        })
        .await;
    house.stop_app(&app).await;
    house.all_in("RUNNING", 0).await;
}

#[tokio::test]
async fn what_does_not_fit_says_so_and_is_placed_when_it_does() {
    let house = House::start().await;
    let app = house.running_app(10).await;
    house.scale(&app, 11).await;
    let rows = house
        .instances("a placement error", |rows| {
            rows.iter().any(|row| row.placement_error.is_some())
        })
        .await;
    let waiting: Vec<&actual_lrp::Model> = rows.iter().filter(|row| row.state == "UNCLAIMED").collect();
    assert_eq!(waiting.len(), 1);
    assert!(
        waiting[0]
            .placement_error
            .as_deref()
            .unwrap()
            .starts_with("insufficient resources")
    );
    house.scale(&app, 9).await;
    house.all_in("RUNNING", 9).await;
    house.scale(&app, 10).await;
    house.run_all(10).await;
}

#[tokio::test]
async fn a_refused_instance_is_offered_again() {
    let house = House::start().await;
    house.land().await;
    house.cell.refuse(Some("no more loop devices"));
    let app = house.app("shop", 1).await;
    house.start_app(&app).await;
    let rows = house
        .instances("the reason", |rows| {
            rows.iter().any(|row| row.placement_error.is_some())
        })
        .await;
    assert_eq!((rows[0].state.as_str(), rows[0].crash_count), ("UNCLAIMED", 0));
    assert_eq!(rows[0].placement_error.as_deref(), Some("no more loop devices"));
    house.cell.refuse(None);
    house.run_all(1).await;
}

#[tokio::test]
async fn a_fault_of_the_platform_costs_no_crash_but_a_pause() {
    let house = House::start().await;
    house.land().await;
    let app = house.app("shop", 1).await;
    house.start_app(&app).await;
    house
        .cell
        .until("was given one", |cell: &FakeCell| cell.specs().len() == 1)
        .await;
    let guid = house.cell.specs()[0].instance_guid.clone();
    let exit = Exit {
        crashed: true,
        not_app_fault: true,
        description: "registry.example cannot be reached".to_owned(),
        ..Exit::default()
    };
    house.cell.end(&guid, exit);
    let rows = house.all_in("UNCLAIMED", 1).await;
    assert_eq!((rows[0].crash_count, rows[0].retry_at_ns.is_some()), (0, true));
    assert_eq!(
        rows[0].placement_error.as_deref(),
        Some("registry.example cannot be reached")
    );
    house
        .cell
        .until("forgot it", |cell| cell.has_forgotten(&guid))
        .await;
    assert!(house.cell.in_phase(InstancePhase::Starting).is_empty());
}
