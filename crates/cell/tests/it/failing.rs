//! Ends nobody asked for, and starts that fail: each says what and why.

use wire::v1::InstancePhase;

use crate::image::{busybox, push, zeros};
use crate::world::{check, story};

#[test]
fn an_exit_is_a_crash_with_status_and_last_lines() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let spec = world.script(image, "seq 1 20; echo dying >&2; exit 7");
        let guid = world.run(&spec).await;
        let exit = world.end_of(&guid).await;
        assert!(
            exit.crashed && !exit.not_app_fault && !exit.out_of_memory,
            "{exit:?}"
        );
        assert_eq!(exit.description, "APP/PROC/WEB: Exited with status 7");
        assert_eq!(exit.status, 7);
        assert_eq!(exit.last_lines.len(), 10);
        assert_eq!(exit.last_lines.last().map(String::as_str), Some("dying"));
        world.until_logged("APP/PROC/WEB OUT Exit status 7").await;
    });
}

#[test]
fn too_much_memory_is_said_to_be_that() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let script = "x=1234567890123456; while :; do x=$x$x; done";
        let mut spec = world.script(image, script);
        spec.memory_mb = 16;
        let guid = world.run(&spec).await;
        let exit = world.end_of(&guid).await;
        assert!(exit.crashed && exit.out_of_memory, "{exit:?}");
        assert_eq!(
            exit.description,
            "APP/PROC/WEB: Exited with status 137 (out of memory)"
        );
        assert_eq!(exit.signal, "SIGKILL");
    });
}

#[test]
fn a_program_that_is_not_there_is_named() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let mut spec = world.script(image, "");
        spec.argv = vec!["/no/such/program".to_owned()];
        let guid = world.run(&spec).await;
        let exit = world.end_of(&guid).await;
        assert!(exit.crashed && !exit.not_app_fault, "{exit:?}");
        assert!(exit.description.contains("/no/such/program"), "{exit:?}");
        assert_eq!(exit.status, 127);
    });
}

#[test]
fn an_app_on_the_wrong_port_or_interface_is_told_so() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        for (script, hint) in [
            (
                "exec httpd -f -p 3000 -h /www",
                "the app listens on port 3000 instead of 8080",
            ),
            (
                "exec httpd -f -p 127.0.0.1:8080 -h /www",
                "port 8080 of 127.0.0.1 only",
            ),
            ("sleep 1000", "the app listens on no port at all"),
        ] {
            let mut spec = world.script(image.clone(), script);
            spec.health_check = Some(check("port", ""));
            spec.start_timeout_ms = 700;
            let guid = world.run(&spec).await;
            let exit = world.end_of(&guid).await;
            assert!(exit.crashed && !exit.not_app_fault, "{exit:?}");
            let start = "Instance never healthy after 700ms: failed to make TCP connection to 10.";
            assert!(exit.description.starts_with(start), "{exit:?}");
            assert!(exit.description.contains(hint), "{exit:?}");
        }
        world.until_logged("HEALTH ERR Timed out after 700ms (").await;
        world
            .until_logged("CELL OUT Failed after 700ms: startup health check never passed.")
            .await;
    });
}

#[test]
fn one_failed_liveness_check_is_a_crash() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let script = "httpd -p 8080 -h /www; sleep 1; busybox rm /www/index.html; sleep 1000";
        let mut spec = world.script(image, script);
        spec.health_check = Some(check("http", "/index.html"));
        let guid = world.run(&spec).await;
        world.until_phase(&guid, InstancePhase::Running).await;
        let exit = world.end_of(&guid).await;
        let text = "Instance became unhealthy: failed to make HTTP request to '/index.html' on port 8080: received \
                    status code 404 in ";
        assert!(exit.crashed && exit.description.starts_with(text), "{exit:?}");
        world.until_logged("HEALTH ERR Liveness check unsuccessful").await;
    });
}

#[test]
fn an_image_that_cannot_be_pulled_is_not_the_apps_fault() {
    story(async |world| {
        world.open().await;
        let mut image = world.busybox().await;
        image.reference = format!("{}/elsewhere:latest", world.registry.host());
        image.password = "hunter2".to_owned();
        image.username = "user".to_owned();
        let spec = world.script(image, "sleep 1000");
        let guid = world.run(&spec).await;
        let exit = world.end_of(&guid).await;
        assert!(exit.crashed && exit.not_app_fault, "{exit:?}");
        assert!(
            exit.description.starts_with("failed to pull image 127.0.0.1:"),
            "{exit:?}"
        );
        assert!(exit.description.contains("was not found"), "{exit:?}");
        let line = world
            .until_logged("failed to create container for instance")
            .await;
        assert!(!String::from_utf8_lossy(&line.payload).contains("hunter2"));
        assert_eq!(line.source_type, "CELL");
    });
}

#[test]
fn a_layer_that_is_not_what_the_image_says_is_refused() {
    story(async |world| {
        world.open().await;
        let mut image = world.busybox().await;
        image.layers[0].diff_id = format!("sha256:{}", "0".repeat(64));
        let guid = world.run(&world.script(image, "sleep 1000")).await;
        let exit = world.end_of(&guid).await;
        assert!(exit.description.contains("digest"), "{exit:?}");
    });
}

#[test]
fn an_image_larger_than_the_disk_limit_is_refused_with_both_sizes() {
    story(async |world| {
        world.open().await;
        let layers = vec![busybox(), zeros("large", 9 << 20)];
        let image = push(&world.registry, "large", layers).await;
        let mut spec = world.script(image.clone(), "sleep 1000");
        spec.disk_mb = 8;
        let guid = world.run(&spec).await;
        let exit = world.end_of(&guid).await;
        assert!(exit.crashed && !exit.not_app_fault, "{exit:?}");
        assert!(exit.description.contains("disk limit of 8M"), "{exit:?}");
        // Each layer fits, together they do not.
        let mut spec = world.script(image, "sleep 1000");
        spec.disk_mb = 10;
        let guid = world.run(&spec).await;
        let exit = world.end_of(&guid).await;
        assert!(
            exit.description.contains("the unpacked image exceeds disk quota"),
            "{exit:?}"
        );
    });
}
