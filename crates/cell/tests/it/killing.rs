//! `kill -9` of the daemon at any moment: the next one ends up where the first was heading, and nothing is left.

use std::io::Read;
use std::time::Duration;

use wire::v1::InstancePhase;

use crate::world::{DAEMON, Place, check, story};

/// Not a story: what the stories start as a process of its own. Without the variable it does nothing.
#[test]
fn daemon() {
    let Some(words) = std::env::var_os(DAEMON) else {
        return;
    };
    std::thread::spawn(|| {
        // Ends with who started it, however that ended.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
    base::init_tracing(base::LogFormat::Text, "error");
    let place = Place::parse(words.to_str().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(place.serve());
}

const POLITE: &str = "trap 'exit 0' TERM; httpd -p 8080 -h /www; while :; do sleep 0.05; done";

#[test]
fn a_start_goes_on_whenever_the_daemon_is_killed() {
    story(async |world| {
        let image = world.busybox().await;
        for millis in [0, 3, 6, 10, 15, 25, 40, 60, 90, 140] {
            let mut spec = world.script(image.clone(), POLITE);
            spec.health_check = Some(check("http", "/index.html"));
            spec.readiness_check = Some(check("port", ""));
            let daemon = world.spawn_daemon().await;
            let guid = world.run(&spec).await;
            tokio::time::sleep(Duration::from_millis(millis)).await;
            daemon.kill();
            let daemon = world.spawn_daemon().await;
            let status = world.until_status(&guid, |status| status.ready).await;
            assert_eq!(status.phase(), InstancePhase::Running);
            let url = format!("http://{}:8080/", status.address);
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            assert!(client.get(url).send().await.unwrap().status().is_success());
            world.stop(&guid).await;
            assert!(!world.end_of(&guid).await.crashed, "killed after {millis} ms");
            world.forget(&guid).await;
            daemon.kill();
        }
    });
}

#[test]
fn a_stop_goes_on_whenever_the_daemon_is_killed() {
    story(async |world| {
        let image = world.busybox().await;
        for millis in [0, 20, 90, 105, 115, 130, 160, 200] {
            let spec = world.script(image.clone(), POLITE);
            let daemon = world.spawn_daemon().await;
            let guid = world.run(&spec).await;
            world.until_phase(&guid, InstancePhase::Running).await;
            world.stop(&guid).await;
            let seen = world
                .until_status(&guid, |status| status.phase() != InstancePhase::Running)
                .await;
            tokio::time::sleep(Duration::from_millis(millis)).await;
            daemon.kill();
            let daemon = world.spawn_daemon().await;
            let exit = world.end_of(&guid).await;
            assert!(!exit.crashed, "killed {millis} ms after {seen:?}: {exit:?}");
            world.forget(&guid).await;
            daemon.kill();
        }
    });
}
