//! Limits hold, and are seen inside.

use runtime::{ExitCause, Signal};

use crate::world::{World, soon};

#[tokio::test]
async fn out_of_memory_is_told() {
    let world = World::new();
    let mut spec = world.script("oom", "exec dd if=/dev/zero of=/dev/null bs=200M count=1");
    spec.limits.memory_bytes = 32 << 20;
    let (exit, _) = world.run(&spec).await;
    assert_eq!(exit.cause, ExitCause::Signal(Signal::KILL));
    assert!(exit.out_of_memory);
    assert_eq!(exit.code(), 137);
    let (exit, _) = world.run(&world.script("well", "kill -9 $$")).await;
    assert!(!exit.out_of_memory);
}

#[tokio::test]
async fn a_fork_bomb_stays_inside() {
    let world = World::new();
    let mut spec = world.script(
        "bomb",
        "i=0; while [ $i -lt 60 ]; do sleep 60 & i=$((i+1)); done; echo all",
    );
    spec.limits.pids = 20;
    world.runtime.create(&spec).await.expect("created");
    world.runtime.start("bomb").await.expect("started");
    let exit = soon(world.runtime.wait("bomb")).await.expect("ended");
    let lines = world.output("bomb").await;
    assert!(
        lines.iter().any(|line| line.contains("can't fork")),
        "{exit:?} {lines:?}"
    );
    world.runtime.delete("bomb").await.expect("deleted");
    world.assert_nothing_left().await;
}

#[tokio::test]
async fn limits_are_seen_inside() {
    let world = World::new();
    let script = "ulimit -n; ulimit -c; cat /sys/fs/cgroup/memory/memory.limit_in_bytes \
                  /sys/fs/cgroup/cpu/cpu.shares /sys/fs/cgroup/pids/pids.max 2>/dev/null || \
                  cat /sys/fs/cgroup/memory.max; grep -c ':/$' /proc/self/cgroup; grep -c slipway /proc/self/cgroup";
    let mut spec = world.script("seen", script);
    spec.limits.memory_bytes = 1016 << 20;
    spec.limits.nofile = 777;
    let (_, lines) = world.run(&spec).await;
    assert_eq!(lines[..2], ["777", "0"]);
    assert!(lines.contains(&(1016_u64 << 20).to_string()), "{lines:?}");
    assert_eq!(
        lines.last().map(String::as_str),
        Some("0"),
        "no host path in /proc/self/cgroup: {lines:?}"
    );
}

#[tokio::test]
async fn use_is_counted() {
    let world = World::new();
    let script = "head -c 8000000 /dev/zero >/dev/shm/x; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo up; sleep 60";
    world
        .runtime
        .create(&world.script("stats", script))
        .await
        .expect("created");
    world.runtime.start("stats").await.expect("started");
    world.until_output("stats", "up").await;
    let stats = world.runtime.stats("stats").expect("counted");
    assert!(stats.cpu_nanos > 1_000_000, "{stats:?}");
    assert!(
        stats.memory_bytes > 8_000_000 && stats.memory_bytes < 128 << 20,
        "{stats:?}"
    );
    // The platform's init, the shell, and its sleep once it has forked.
    assert!((2..=3).contains(&stats.pids), "{stats:?}");
}
