//! From nothing to nothing: create, start, signal, kill, delete.

use runtime::{Error, ExitCause, Signal, State};

use crate::world::{World, soon};

#[tokio::test]
async fn a_container_lives_and_leaves_nothing() {
    let world = World::new();
    let spec = world.script("one", "echo hello; exit 7");
    let pid = world.runtime.create(&spec).await.expect("created");
    assert_eq!(
        world.runtime.state("one").await.expect("state"),
        State::Created { pid }
    );
    assert_eq!(world.runtime.list().expect("listed"), ["one"]);
    world.runtime.start("one").await.expect("started");
    let exit = soon(world.runtime.wait("one")).await.expect("ended");
    assert_eq!(exit.cause, ExitCause::Status(7));
    assert!(!exit.out_of_memory);
    assert_eq!(
        world.runtime.state("one").await.expect("state"),
        State::Exited(exit)
    );
    assert_eq!(world.output("one").await, ["hello"]);
    world.runtime.delete("one").await.expect("deleted");
    world.runtime.delete("one").await.expect("deleting again is fine");
    assert_eq!(world.runtime.state("one").await.expect("state"), State::Gone);
    world.assert_nothing_left().await;
}

#[tokio::test]
async fn nothing_of_the_image_runs_before_start() {
    let world = World::new();
    let spec = world.script("idle", "echo ran");
    let pid = world.runtime.create(&spec).await.expect("created");
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("readable");
    assert_eq!(children, "");
    world.runtime.delete("idle").await.expect("deleted");
    world.assert_nothing_left().await;
}

#[tokio::test]
async fn the_program_gets_signals_and_deaths_by_signal_are_named() {
    let world = World::new();
    let mut spec = world.script(
        "term",
        "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done",
    );
    spec.stop_signal = Signal::TERM;
    world.runtime.create(&spec).await.expect("created");
    world.runtime.start("term").await.expect("started");
    world.until_output("term", "up").await;
    assert!(matches!(
        world.runtime.state("term").await.expect("state"),
        State::Running { .. }
    ));
    world.runtime.stop("term").await.expect("stopped");
    let exit = soon(world.runtime.wait("term")).await.expect("ended");
    assert_eq!(exit.cause, ExitCause::Status(3));
    assert_eq!(world.output("term").await, ["up", "bye"]);
    let refused = world.runtime.signal("term", Signal::TERM).await;
    assert!(matches!(refused, Err(Error::State { .. })), "{refused:?}");

    world
        .runtime
        .create(&world.script("usr1", "echo up; sleep 60"))
        .await
        .expect("created");
    world.runtime.start("usr1").await.expect("started");
    world.until_output("usr1", "up").await;
    let signal: Signal = "SIGUSR1".parse().expect("a signal");
    world.runtime.signal("usr1", signal).await.expect("sent");
    let exit = soon(world.runtime.wait("usr1")).await.expect("ended");
    assert_eq!(
        (exit.cause.clone(), exit.code()),
        (ExitCause::Signal(signal), 138)
    );
}

#[tokio::test]
async fn kill_ends_everything_inside() {
    let world = World::new();
    let script = "trap '' TERM HUP INT; for i in 1 2 3; do (trap '' TERM; sleep 60) & done; echo up; wait";
    world
        .runtime
        .create(&world.script("many", script))
        .await
        .expect("created");
    world.runtime.start("many").await.expect("started");
    world.until_output("many", "up").await;
    world.runtime.kill("many").await.expect("killed");
    let exit = soon(world.runtime.wait("many")).await.expect("ended");
    assert_eq!(exit.cause, ExitCause::Signal(Signal::KILL));
    assert_eq!(exit.code(), 137);
    world
        .runtime
        .kill("many")
        .await
        .expect("killing what has ended is fine");
    world.runtime.delete("many").await.expect("deleted");
    world.assert_nothing_left().await;
}

#[tokio::test]
async fn when_the_program_ends_its_children_die() {
    let world = World::new();
    let (exit, _) = world
        .run(&world.script("orphan", "sleep 60 & setsid sleep 60 & exit 0"))
        .await;
    assert_eq!(exit.cause, ExitCause::Status(0));
    world.assert_nothing_left().await;
}

#[tokio::test]
async fn orphans_are_reaped_while_it_runs() {
    let world = World::new();
    // A grandchild is left to pid 1; as long as it is a zombie, its name is still to be found.
    let script = "(sleep 0.05 &); while grep -q sleep /proc/[0-9]*/comm 2>/dev/null; do :; done; echo clean";
    assert_eq!(world.sh(script).await, ["clean"]);
}

#[tokio::test]
async fn deleting_a_running_container_is_enough() {
    let world = World::new();
    world
        .runtime
        .create(&world.script("busy", "echo up; while :; do :; done"))
        .await
        .expect("created");
    world.runtime.start("busy").await.expect("started");
    world.until_output("busy", "up").await;
    world.runtime.delete("busy").await.expect("deleted");
    let gone = world.runtime.wait("busy").await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
    world.assert_nothing_left().await;
}

#[tokio::test]
async fn many_containers_start_at_once() {
    let world = World::new();
    let ids: Vec<String> = (0..8).map(|n| format!("c{n}")).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for id in &ids {
        let (runtime, spec) = (
            world.runtime.clone(),
            world.script(id, "cat /proc/sys/kernel/hostname"),
        );
        tasks.spawn(async move {
            runtime.create(&spec).await.expect("created");
            runtime.start(&spec.id).await.expect("started");
            runtime.wait(&spec.id).await.expect("ended").code()
        });
    }
    assert_eq!(soon(tasks.join_all()).await, [0; 8]);
    for id in &ids {
        assert_eq!(&world.output(id).await, std::slice::from_ref(id));
        world.runtime.delete(id).await.expect("deleted");
    }
    world.assert_nothing_left().await;
}

#[tokio::test]
async fn the_program_has_three_descriptors() {
    let world = World::new();
    let (_, lines) = world.run(&world.spec("fds", &["ls", "/proc/self/fd"])).await;
    // The fourth is the directory being listed.
    assert_eq!(lines, ["0", "1", "2", "3"]);
}
