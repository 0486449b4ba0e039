//! Daemons come and go, instances stay.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use wire::v1::{InstancePhase, StatsRequest};

use crate::world::{check, story};

const TICKING: &str = "trap 'echo leaving; exit 0' TERM; httpd -p 8080 -h /www; n=0; \
                       while :; do echo tick $n; n=$((n+1)); sleep 0.05; done";

#[test]
fn a_running_instance_is_adopted_with_everything() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let mut spec = world.script(image, TICKING);
        spec.health_check = Some(check("http", "/index.html"));
        spec.readiness_check = Some(check("port", ""));
        let guid = world.run(&spec).await;
        let before = world.until_status(&guid, |status| status.ready).await;
        world.until_logged("OUT tick 5").await;

        world.kill_daemon().await;
        let url = format!("http://{}:8080/", before.address);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let body = client.get(&url).send().await.unwrap().text().await.unwrap();
        assert_eq!(body, "hello from busybox\n", "the app lives without a daemon");

        world.open().await;
        let held = world.snapshot().await;
        assert_eq!(held.len(), 1);
        assert_eq!(held[0].phase(), InstancePhase::Running);
        assert_eq!(
            (held[0].ready, held[0].address.as_str()),
            (true, before.address.as_str())
        );
        assert_eq!(held[0].since_ns, before.since_ns);
        let last = world.texts().len() + 20;
        world.until_logged(&format!("OUT tick {last}")).await;
        for number in 0..last {
            let wanted = format!("APP/PROC/WEB OUT tick {number}");
            let count = world.texts().iter().filter(|line| **line == wanted).count();
            assert_eq!(count, 1, "{wanted}: an orderly end repeats and loses nothing");
        }
        let request = StatsRequest {
            instance_guids: vec![guid.clone()],
        };
        let usage = world.client().stats(request).await.unwrap().into_inner().usage;
        assert!(usage[0].memory_bytes > 0);

        world.stop(&guid).await;
        let exit = world.end_of(&guid).await;
        assert!(!exit.crashed && exit.status == 0, "{exit:?}");
        world.until_logged("OUT leaving").await;
    });
}

#[test]
fn an_end_while_no_daemon_looked_is_told_later() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let spec = world.script(image, "echo up; sleep 1; echo down; exit 9");
        let guid = world.run(&spec).await;
        world.until_phase(&guid, InstancePhase::Running).await;
        world.until_logged("OUT up").await;
        world.kill_daemon().await;
        let record = world.data_dir().join("run").join(&guid).join("exit.json");
        crate::world::until(|| record.exists(), || "no exit record".to_owned()).await;
        world.open().await;
        let exit = world.end_of(&guid).await;
        assert_eq!(exit.description, "APP/PROC/WEB: Exited with status 9");
        assert_eq!(exit.last_lines, ["up", "down"]);
        world.until_logged("OUT down").await;
        // And again: the end itself is held until it is forgotten.
        world.kill_daemon().await;
        world.open().await;
        assert_eq!(world.end_of(&guid).await, exit);
    });
}

#[test]
fn an_instance_accepted_but_not_begun_is_continued_and_half_made_ones_are_redone() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let mut spec = world.script(image, TICKING);
        spec.health_check = Some(check("port", ""));
        let guid = world.run(&spec).await;
        let ledger = world.data_dir().join("ledger").join(&guid);
        let accepted = std::fs::read(&ledger).unwrap();
        world.until_phase(&guid, InstancePhase::Running).await;
        let kept = std::fs::read(&ledger).unwrap();
        world.kill_daemon().await;
        // The machine is restarted: the record says "accepted", files and a mount are there, the container is not.
        kill_container(world, &guid);
        std::fs::write(&ledger, &accepted).unwrap();
        world.open().await;
        world.until_phase(&guid, InstancePhase::Running).await;
        // Now it says "running".
        world.kill_daemon().await;
        kill_container(world, &guid);
        std::fs::write(&ledger, &kept).unwrap();
        world.open().await;
        let exit = world.end_of(&guid).await;
        assert!(exit.crashed && exit.not_app_fault, "{exit:?}");
        assert_eq!(exit.description, "the container is gone: the cell was restarted");
    });
}

#[test]
fn what_nobody_wants_is_removed_and_secrets_are_not_kept_longer_than_needed() {
    story(async |world| {
        world.open().await;
        let mut image = world.busybox().await;
        image.username = "user".to_owned();
        image.password = "hunter2-registry".to_owned();
        let mut spec = world.script(image, TICKING);
        spec.process_env = vec!["SECRET=hunter2-env".to_owned()];
        let guid = world.run(&spec).await;
        world.until_phase(&guid, InstancePhase::Running).await;
        let dir = world.data_dir().join("ledger");
        let record = std::fs::read(dir.join(&guid)).unwrap();
        let holds = |text: &str| record.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(holds("hunter2-env") && !holds("hunter2-registry"));
        assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(
            dir.join(&guid).metadata().unwrap().permissions().mode() & 0o777,
            0o600
        );

        world.kill_daemon().await;
        std::fs::remove_file(dir.join(&guid)).unwrap();
        world.open().await;
        assert_eq!(world.snapshot().await, []);
        assert!(!world.data_dir().join("instances").join(&guid).exists());
        assert!(!world.data_dir().join("run").join(&guid).exists());
    });
}

#[test]
fn a_second_daemon_is_turned_away_and_harms_nothing() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let mut spec = world.script(image, TICKING);
        spec.health_check = Some(check("port", ""));
        let guid = world.run(&spec).await;
        world.until_phase(&guid, InstancePhase::Running).await;
        let error = world.second_cell().await.unwrap_err();
        assert!(
            base::chain(&error).contains("in use by another process"),
            "{error}"
        );
        assert_eq!(world.snapshot().await[0].phase(), InstancePhase::Running);
    });
}

/// Kills the shim, and with it the container, as the end of the machine would; the runtime's state is on a tmpfs
/// there and goes too.
fn kill_container(world: &crate::world::World, guid: &str) {
    let state = world.data_dir().join("run").join(guid);
    let found = Command::new("pgrep")
        .arg("-f")
        .arg(state.as_os_str())
        .output()
        .unwrap();
    let pids = String::from_utf8(found.stdout).unwrap();
    for pid in pids.split_whitespace() {
        Command::new("kill").args(["-9", pid]).status().unwrap();
        while std::path::Path::new("/proc").join(pid).exists() {
            std::thread::yield_now();
        }
    }
    std::fs::remove_dir_all(&state).unwrap();
}
