//! Daemons come and go; containers stay.

use std::fs;

use runtime::{Error, ExitCause, LogEvent, Signal, State};

use crate::world::{World, processes_of, soon, until};

#[tokio::test]
async fn a_new_daemon_finds_state_output_figures_and_exit() {
    let mut world = World::new();
    let script =
        "trap 'echo leaving; exit 5' TERM; n=0; while :; do echo tick $n; n=$((n+1)); sleep 0.02; done";
    let pid = world
        .runtime
        .create(&world.script("adopt", script))
        .await
        .expect("created");
    world.runtime.start("adopt").await.expect("started");
    world.until_output("adopt", "tick 3").await;
    let mut reader = world.runtime.logs("adopt", 0).await.expect("readable");
    assert!(matches!(
        soon(reader.next()).await.expect("readable"),
        Some(LogEvent::Line(_))
    ));
    let position = reader.position();
    drop(reader);

    world.runtime = world.reopened();
    assert_eq!(world.runtime.list().expect("listed"), ["adopt"]);
    let state = world.runtime.state("adopt").await.expect("state");
    assert!(
        matches!(state, State::Running { pid: same, .. } if same == pid),
        "{state:?}"
    );
    assert!(world.runtime.stats("adopt").expect("counted").cpu_nanos > 0);
    let mut reader = world.runtime.logs("adopt", position).await.expect("readable");
    let Some(LogEvent::Line(line)) = soon(reader.next()).await.expect("readable") else {
        panic!("no line")
    };
    assert_eq!((line.sequence, line.text), (1, b"tick 1".to_vec()));
    world.runtime.stop("adopt").await.expect("stopped");
    let exit = soon(world.runtime.wait("adopt")).await.expect("ended");
    assert_eq!(exit.cause, ExitCause::Status(5));

    // Ended while no daemon was there: the record waits.
    world.runtime = world.reopened();
    assert_eq!(soon(world.runtime.wait("adopt")).await.expect("ended"), exit);
    assert_eq!(
        world.output("adopt").await.last().map(String::as_str),
        Some("leaving")
    );
    world.runtime.delete("adopt").await.expect("deleted");
    world.assert_nothing_left().await;
}

#[tokio::test]
async fn a_killed_shim_takes_its_container_along_and_is_noticed() {
    let world = World::new();
    world
        .runtime
        .create(&world.script("lost", "echo up; sleep 60 & sleep 60"))
        .await
        .expect("created");
    world.runtime.start("lost").await.expect("started");
    world.until_output("lost", "up").await;
    let waiting = {
        let runtime = world.runtime.clone();
        async move { runtime.wait("lost").await }
    };
    let kill = async {
        let shims = world.shims();
        let pid = shims
            .first()
            .and_then(|text| text.strip_prefix("process "))
            .expect("one shim");
        kill_hard(pid);
    };
    let (exit, ()) = tokio::join!(soon(waiting), kill);
    assert_eq!(exit.expect("ended").cause, ExitCause::Lost);
    assert!(matches!(
        world.runtime.state("lost").await.expect("state"),
        State::Exited(_)
    ));
    until(
        || processes_of(world.range).is_empty(),
        || "the container outlived its shim".to_owned(),
    )
    .await;
    assert_eq!(world.output("lost").await, ["up"]);
    world.runtime.delete("lost").await.expect("deleted");
    world.assert_nothing_left().await;
}

#[tokio::test]
async fn a_container_whose_init_is_killed_ends_by_signal() {
    let world = World::new();
    let pid = world
        .runtime
        .create(&world.script("init", "echo up; sleep 60"))
        .await
        .expect("created");
    world.runtime.start("init").await.expect("started");
    world.until_output("init", "up").await;
    kill_hard(&pid.to_string());
    let exit = soon(world.runtime.wait("init")).await.expect("ended");
    assert_eq!(exit.cause, ExitCause::Signal(Signal::KILL));
    world.runtime.delete("init").await.expect("deleted");
    world.assert_nothing_left().await;
}

#[tokio::test]
async fn a_directory_without_a_shim_can_be_judged_and_deleted() {
    let world = World::new();
    // A daemon killed between making the directory and starting the shim.
    fs::create_dir(world.instance_dir("half")).expect("made");
    let state = world.runtime.state("half").await.expect("state");
    assert!(
        matches!(&state, State::Exited(exit) if exit.cause == ExitCause::Lost),
        "{state:?}"
    );
    let refused = world.runtime.start("half").await;
    assert!(matches!(refused, Err(Error::State { .. })), "{refused:?}");
    world.runtime.delete("half").await.expect("deleted");
    world.assert_nothing_left().await;
}

#[tokio::test]
async fn a_shim_is_out_of_the_daemons_groups_and_holds_nothing_of_its() {
    let world = World::new();
    world
        .runtime
        .create(&world.script("apart", "echo up; sleep 60"))
        .await
        .expect("created");
    let shims = world.shims();
    let pid = shims
        .first()
        .and_then(|text| text.strip_prefix("process "))
        .expect("one shim");
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("readable");
    assert!(groups.contains(&format!("0::/{}/_shims", world.tag)), "{groups}");
    let fds: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("listable")
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    let known = |fd: &String| {
        ["/dev/null", "socket:", "pipe:", "anon_inode:[pidfd]", "pidfd:"]
            .iter()
            .any(|kind| fd.starts_with(kind))
            || fd.ends_with("shim.err")
    };
    assert!(fds.iter().all(known), "{fds:?}");
}

fn kill_hard(pid: &str) {
    let status = std::process::Command::new("/bin/busybox")
        .args(["kill", "-9", pid])
        .status()
        .expect("runs");
    assert!(status.success());
}

#[tokio::test]
async fn a_making_cut_short_at_any_moment_can_be_deleted() {
    let world = World::new();
    for millis in 0..12 {
        let id = format!("cut{millis}");
        let spec = world.script(&id, "sleep 60");
        // The making goes on without its daemon, or never began.
        let cut = tokio::time::timeout(
            std::time::Duration::from_millis(millis),
            world.runtime.create(&spec),
        )
        .await;
        world.runtime.delete(&id).await.expect("deleted");
        drop(cut);
        assert_eq!(world.runtime.state(&id).await.expect("state"), State::Gone);
    }
    world.assert_nothing_left().await;
}
