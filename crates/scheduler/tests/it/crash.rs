//! Crashes: back-off, events, log lines.

use store::audit_event;

use crate::fixture::House;

#[tokio::test]
async fn a_crash_is_told_and_the_third_waits() {
    let house = House::start().await;
    let app = house.running_app(1).await;
    house.cell.set_eager();
    for count in 1..=2 {
        let before = house.cell.specs()[0].instance_guid.clone();
        house.cell.crash(&before);
        house
            .instances("a new instance", |rows| {
                rows[0].state == "RUNNING" && rows[0].crash_count == count && rows[0].guid != before
            })
            .await;
        house
            .cell
            .until("forgot the old one", |cell| cell.has_forgotten(&before))
            .await;
    }
    let third = house.cell.specs()[0].instance_guid.clone();
    house.cell.crash(&third);
    let rows = house.all_in("CRASHED", 1).await;
    let row = &rows[0];
    let wait = row.retry_at_ns.unwrap() - row.since_ns;
    assert_eq!((row.crash_count, wait), (3, 30_000_000_000));
    assert_eq!(
        row.crash_reason.as_deref(),
        Some("APP/PROC/WEB: Exited with status 1")
    );
    tell_tale(&house, &app.guid, &third).await;
    let lines = house.logs.until("API", "\"crash_count\"=>3").await;
    let told = "Process has crashed with type: \"web\"";
    assert_eq!(lines.iter().filter(|line| *line == told).count(), 3, "{lines:?}");
}

/// The audit event of the third crash, of this instance.
async fn tell_tale(house: &House, app: &str, instance: &str) {
    let events = house
        .until::<audit_event::Entity, _>("three events", |events| (events.len() == 3).then_some(events))
        .await;
    let event = &events[2];
    assert_eq!(event.kind, "audit.app.process.crash");
    assert_eq!(
        (
            event.target_guid.as_str(),
            event.target_kind.as_str(),
            event.target_name.as_str()
        ),
        (app, "app", "shop")
    );
    assert_eq!(
        (event.actor_kind.as_str(), event.actor_name.as_str()),
        ("process", "web")
    );
    assert_eq!(
        (event.space_guid.as_deref(), event.org_guid.as_deref()),
        (Some("space"), Some("org"))
    );
    for part in [
        r#""crash_count":3"#,
        r#""index":0"#,
        r#""reason":"CRASHED""#,
        r#""cell_id":"cell-0""#,
        r#""exit_status":1"#,
        r#""last_log_lines":["boom"]"#,
        instance,
    ] {
        assert!(event.data.contains(part), "{part} in {}", event.data);
    }
}

#[tokio::test]
async fn a_restart_of_the_app_clears_its_crashes() {
    let house = House::start().await;
    let app = house.running_app(1).await;
    let guid = house.cell.specs()[0].instance_guid.clone();
    house.cell.crash(&guid);
    house
        .instances("a crash", |rows| rows.iter().any(|row| row.crash_count == 1))
        .await;
    let version = house.start_app(&app).await;
    let rows = house
        .instances("the new version", |rows| {
            rows.len() == 1 && rows[0].process_version == version
        })
        .await;
    assert_eq!(rows[0].crash_count, 0);
}
