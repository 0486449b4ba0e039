//! Ends that were asked for.

use std::time::{Duration, Instant};

use cell::CellError;
use wire::v1::InstancePhase;

use crate::world::{check, story, until};

const POLITE: &str = "trap 'echo leaving; exit 0' TERM; httpd -p 8080 -h /www; while :; do sleep 0.05; done";

#[test]
fn a_stop_is_graceful_and_leaves_nothing_but_its_record() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let mut spec = world.script(image, POLITE);
        spec.health_check = Some(check("port", ""));
        let guid = world.run(&spec).await;
        world.until_phase(&guid, InstancePhase::Running).await;
        world.stop(&guid).await;
        world.stop("unknown").await;
        let stopping = world.until_phase(&guid, InstancePhase::Stopping).await;
        assert!(!stopping.ready);
        let exit = world.end_of(&guid).await;
        assert!(!exit.crashed && !exit.not_app_fault, "{exit:?}");
        assert_eq!((exit.status, exit.signal.as_str()), (0, ""));
        for line in [
            format!("CELL OUT Cell cell-1 stopping instance {guid}"),
            "APP/PROC/WEB OUT leaving".to_owned(),
            "APP/PROC/WEB OUT Exit status 0".to_owned(),
            format!("CELL OUT Cell cell-1 destroying container for instance {guid}"),
            format!("CELL OUT Cell cell-1 successfully destroyed container for instance {guid}"),
        ] {
            world.until_logged(&line).await;
        }
        assert!(!world.data_dir().join("instances").join(&guid).exists());
        assert!(world.data_dir().join("ledger").join(&guid).exists());
        world.forget(&guid).await;
        assert!(!world.data_dir().join("ledger").join(&guid).exists());
        assert_eq!(world.snapshot().await, []);
    });
}

#[test]
fn who_ignores_the_signal_is_killed_after_the_grace() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let mut spec = world.script(image, "trap '' TERM; echo deaf; while :; do sleep 0.05; done");
        spec.grace_ms = 300;
        let guid = world.run(&spec).await;
        world.until_logged("OUT deaf").await;
        world.stop(&guid).await;
        let exit = world.end_of(&guid).await;
        assert_eq!(
            (exit.crashed, exit.status, exit.signal.as_str()),
            (false, 137, "SIGKILL")
        );
        world
            .until_logged("OUT Exit status 137 (exceeded 300ms graceful shutdown interval)")
            .await;
    });
}

#[test]
fn the_images_own_signal_is_used() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let script = "trap 'echo quitting; exit 3' QUIT; trap '' TERM; echo up; while :; do sleep 0.05; done";
        let mut spec = world.script(image, script);
        spec.stop_signal = "SIGQUIT".to_owned();
        let guid = world.run(&spec).await;
        world.until_logged("OUT up").await;
        world.stop(&guid).await;
        let exit = world.end_of(&guid).await;
        assert_eq!((exit.crashed, exit.status), (false, 3));
        world.until_logged("OUT quitting").await;
    });
}

#[test]
fn a_stop_before_the_start_ends_it_there() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let spec = world.script(image, "sleep 1000");
        let guid = world.run(&spec).await;
        world.stop(&guid).await;
        let exit = world.end_of(&guid).await;
        assert!(!exit.crashed, "{exit:?}");
    });
}

#[test]
fn stopping_the_whole_cell_is_bounded_and_closes_it() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let mut polite = world.script(image.clone(), POLITE);
        polite.health_check = Some(check("port", ""));
        let mut deaf = world.script(
            image.clone(),
            "trap '' TERM; echo deaf; while :; do sleep 0.05; done",
        );
        deaf.grace_ms = 3_600_000;
        let guids = [world.run(&polite).await, world.run(&deaf).await];
        world.until_phase(&guids[0], InstancePhase::Running).await;
        world.until_logged("OUT deaf").await;
        let start = Instant::now();
        let stopped: Result<(), CellError> = world.cell().stop_all(Duration::from_millis(500)).await;
        stopped.unwrap();
        assert!(start.elapsed() < Duration::from_secs(10));
        for guid in &guids {
            assert!(!world.end_of(guid).await.crashed);
        }
        let refused = world.ask(&[world.script(image, "sleep 1")]).await;
        assert_eq!(refused[0].reason, "the cell is being stopped");
        until(
            || world.texts().iter().any(|line| line.contains("leaving")),
            || "no farewell".to_owned(),
        )
        .await;
    });
}
