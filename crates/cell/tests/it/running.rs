//! Instances that run: reachable, with the environment, logs, figures and limits they were promised.

use std::time::{Duration, Instant};

use wire::v1::{DescribeRequest, InstancePhase, StatsRequest};

use crate::world::{check, story};

const SERVE: &str = "echo serving; exec httpd -f -p 8080 -h /www";

#[test]
fn a_web_app_is_healthy_in_no_time_and_answers() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let mut spec = world.script(image, SERVE);
        spec.health_check = Some(check("http", "/index.html"));
        let guid = world.run(&spec).await;
        let status = world.until_phase(&guid, InstancePhase::Running).await;
        assert!(status.ready && !status.address.is_empty(), "{status:?}");
        assert_eq!(
            (status.ports.as_slice(), status.process_version.as_str()),
            (&[8080][..], "version-1")
        );
        let url = format!("http://{}:8080/", status.address);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let body = client.get(url).send().await.unwrap().text().await.unwrap();
        assert_eq!(body, "hello from busybox\n");

        // The second instance needs no registry: its repository handed out the layers, and has no such tag.
        let mut again = world.script(spec.image.clone().unwrap(), SERVE);
        again.health_check = spec.health_check.clone();
        again.image.as_mut().unwrap().reference = format!("{}/busybox:gone", world.registry.host());
        let start = Instant::now();
        let guid = world.run(&again).await;
        world.until_phase(&guid, InstancePhase::Running).await;
        eprintln!("from Run to RUNNING with layers here: {:?}", start.elapsed());
    });
}

#[test]
fn logs_carry_sources_streams_and_tags() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let mut spec = world.script(image, "echo out; echo err >&2; exec httpd -f -p 8080 -h /www");
        spec.index = 3;
        spec.health_check = Some(check("port", ""));
        let guid = world.run(&spec).await;
        world.until_phase(&guid, InstancePhase::Running).await;
        let out = world.until_logged("APP/PROC/WEB OUT out").await;
        world.until_logged("APP/PROC/WEB ERR err").await;
        assert_eq!(
            (out.source_id.as_str(), out.instance_id.as_str()),
            ("app-guid", "3")
        );
        for (name, value) in [
            ("app_id", "app-guid"),
            ("app_name", "app"),
            ("space_name", "space"),
            ("organization_id", "org-guid"),
            ("process_id", "process-guid"),
            ("process_type", "web"),
            ("process_instance_id", &guid),
            ("instance_id", "3"),
        ] {
            assert_eq!(out.tags.get(name).map(String::as_str), Some(value), "{name}");
        }
        for line in [
            format!("CELL OUT Cell cell-1 creating container for instance {guid}"),
            format!("CELL OUT Cell cell-1 successfully created container for instance {guid}"),
            "CELL OUT Starting health monitoring of container".to_owned(),
            "CELL OUT Container became healthy".to_owned(),
        ] {
            world.until_logged(&line).await;
        }
    });
}

#[test]
fn inside_is_what_the_reference_promises() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let script = "env; echo host=$(hostname); echo own=$(cat /etc/hosts | busybox tail -1); \
                      echo dns=$(busybox grep -c . /etc/resolv.conf); echo pwd=$(pwd); echo id=$(busybox id -u); \
                      exec sleep 1000";
        let mut spec = world.script(image, script);
        spec.user = "app".to_owned();
        spec.workdir = "/www".to_owned();
        spec.image_env = vec!["FROM=image".to_owned(), "BOTH=image".to_owned()];
        spec.process_env = vec![
            "BOTH=app".to_owned(),
            "PORT=8080".to_owned(),
            r#"VCAP_APPLICATION={"name":"app"}"#.to_owned(),
        ];
        let guid = world.run(&spec).await;
        let address = world.until_phase(&guid, InstancePhase::Running).await.address;
        world.until_logged("OUT id=1000").await;
        let texts = world.texts();
        for wanted in [
            "FROM=image".to_owned(),
            "BOTH=app".to_owned(),
            "PORT=8080".to_owned(),
            format!("INSTANCE_GUID={guid}"),
            "CF_INSTANCE_INDEX=0".to_owned(),
            format!("CF_INSTANCE_IP={address}"),
            format!("CF_INSTANCE_INTERNAL_IP={address}"),
            format!("CF_INSTANCE_ADDR={address}:8080"),
            r#"CF_INSTANCE_PORTS=[{"external":8080,"internal":8080}]"#.to_owned(),
            "USER=app".to_owned(),
            "HOME=/home/app".to_owned(),
            format!("host={guid}"),
            format!("own={address} {guid}"),
            "pwd=/www".to_owned(),
        ] {
            let wanted = format!("APP/PROC/WEB OUT {wanted}");
            assert!(texts.contains(&wanted), "{wanted:?} is not in {texts:#?}");
        }
        let vcap = texts
            .iter()
            .find(|line| line.contains("VCAP_APPLICATION"))
            .unwrap();
        assert!(
            vcap.contains(&format!(r#""instance_id":"{guid}""#)) && vcap.contains(r#""port":8080"#),
            "{vcap}"
        );
    });
}

#[test]
fn figures_grow_with_use() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let script =
            "dd if=/dev/zero of=/tmp/file bs=1M count=3 2>/dev/null; echo written; while :; do :; done";
        let spec = world.script(image, script);
        let guid = world.run(&spec).await;
        world.until_phase(&guid, InstancePhase::Running).await;
        world.until_logged("OUT written").await;
        let usage = async || {
            let request = StatsRequest {
                instance_guids: vec![guid.clone(), "unknown".to_owned()],
            };
            let mut usage = world.client().stats(request).await.unwrap().into_inner().usage;
            assert_eq!(usage.len(), 1);
            usage.remove(0)
        };
        // What was written counts as disk, and the image too.
        let first = usage().await;
        assert!(first.memory_bytes > 0 && first.uptime_ns > 0, "{first:?}");
        assert!(first.disk_bytes > 3 << 20, "{first:?}");
        let start = Instant::now();
        loop {
            let now = usage().await;
            // 64 of 1024 MiB are a sixteenth of the machine; a busy loop takes far more.
            if now.cpu > 0.2 && now.cpu_entitlement > 1.0 && now.uptime_ns > first.uptime_ns {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{now:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
}

#[test]
fn readiness_comes_and_goes_without_a_crash() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        // The page says whether the app is ready; the app takes and gives it on a signal of its own clock.
        let script =
            "httpd -p 8080 -h /www; busybox touch /www/ready; sleep 1; busybox rm /www/ready; sleep 1000";
        let mut spec = world.script(image, script);
        spec.health_check = Some(check("port", ""));
        spec.readiness_check = Some(check("http", "/ready"));
        let guid = world.run(&spec).await;
        let status = world.until_status(&guid, |status| status.ready).await;
        assert_eq!(status.phase(), InstancePhase::Running);
        let status = world.until_status(&guid, |status| {
            !status.ready && status.phase() == InstancePhase::Running
        });
        status.await;
        world
            .until_logged("CELL OUT Container failed the readiness health check.")
            .await;
        world
            .until_logged("HEALTH ERR Readiness check unsuccessful: failed to make HTTP request to '/ready'")
            .await;
    });
}

#[test]
fn output_beyond_the_limit_is_cut_and_counted() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let script = "while :; do seq 1 500; sleep 0.3; done";
        let mut spec = world.script(image, script);
        spec.log_rate_limit_bytes_per_second = 1000;
        world.run(&spec).await;
        world
            .until_logged("ERR app instance exceeded log rate limit (1000 bytes/sec)")
            .await;
        world
            .until_logged("log lines were dropped by the log rate limit")
            .await;
        let bytes: usize = world
            .lines()
            .iter()
            .filter(|line| !line.error)
            .map(|line| line.payload.len())
            .sum();
        assert!(bytes < 10_000, "{bytes}");
    });
}

#[test]
fn nothing_is_lost_of_a_thousand_lines_a_second() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let spec = world.script(
            image,
            "for n in $(seq 1 20); do seq 1 100; sleep 0.1; done; echo last; sleep 1000",
        );
        world.run(&spec).await;
        world.until_logged("OUT last").await;
        let numbers = |line: &String| {
            line.trim_start_matches("APP/PROC/WEB OUT ")
                .parse::<u32>()
                .is_ok()
        };
        assert_eq!(world.texts().iter().filter(|line| numbers(line)).count(), 2000);
    });
}

#[test]
fn the_cell_describes_itself_and_refuses_what_does_not_fit() {
    story(async |world| {
        world.open().await;
        let about = world
            .client()
            .describe(DescribeRequest {})
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (about.cell_id.as_str(), about.memory_mb, about.containers),
            ("cell-1", 1024, 8)
        );
        assert_eq!(about.os, "linux");
        let image = world.busybox().await;
        let mut large = world.script(image.clone(), "sleep 1000");
        large.memory_mb = 1000;
        let mut more = world.script(image.clone(), "sleep 1000");
        more.memory_mb = 25;
        let mut wrong = world.script(image, "sleep 1000");
        wrong.argv.clear();
        let refused = world.ask(&[large.clone(), more.clone(), wrong.clone()]).await;
        let refused: Vec<_> = refused
            .iter()
            .map(|r| (r.instance_guid.as_str(), r.reason.as_str()))
            .collect();
        let expected = [
            (more.instance_guid.as_str(), "insufficient resources: memory"),
            (&wrong.instance_guid, "no start command"),
        ];
        assert_eq!(refused, expected);
        // Again is the same, and an ended instance makes room.
        assert_eq!(world.ask(std::slice::from_ref(&large)).await, []);
        assert_eq!(world.snapshot().await.len(), 1);
        world
            .until_phase(&large.instance_guid, InstancePhase::Running)
            .await;
        world.stop(&large.instance_guid).await;
        world.end_of(&large.instance_guid).await;
        world.run(&more).await;
    });
}

#[test]
fn a_burst_of_instances_is_started_side_by_side() {
    story(async |world| {
        world.open().await;
        let image = world.busybox().await;
        let mut specs = Vec::new();
        for index in 0..8 {
            let mut spec = world.script(image.clone(), SERVE);
            spec.index = index;
            spec.health_check = Some(check("http", "/index.html"));
            specs.push(spec);
        }
        assert_eq!(world.ask(&specs).await, []);
        let mut addresses = std::collections::BTreeSet::new();
        for spec in &specs {
            let status = world
                .until_phase(&spec.instance_guid, InstancePhase::Running)
                .await;
            addresses.insert(status.address);
        }
        assert_eq!(addresses.len(), specs.len());
        let refused = world.ask(&[world.script(image, SERVE)]).await;
        assert_eq!(refused[0].reason, "insufficient resources: containers");
    });
}
