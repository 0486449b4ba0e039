//! More programs in a running container.

use runtime::{Error, ExecHandle, Signal, WindowSize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{Ran, SMALL, World, exec_spec, read_all, soon, until};

async fn running(world: &World) {
    let mut spec = world.script("host", "echo up; sleep 60");
    spec.env = vec!["OWN=yes".to_owned()];
    spec.cwd = "/tmp".to_owned();
    world.up(&spec).await;
}

async fn exec(world: &World, argv: &[&str], user: &str) -> Ran {
    world.exec("host", argv, user).await
}

pub async fn a_command_has_the_programs_surroundings_and_no_more_rights(world: &World) {
    running(world).await;
    let script = "cat; pwd; echo $OWN $EXTRA; id -u; grep -E '^(CapBnd|CapEff|Seccomp:|NoNewPrivs)' /proc/self/status; \
                  for k in user pid mnt net ipc uts cgroup; do \
                  test $(readlink /proc/self/ns/$k) = $(readlink /proc/1/ns/$k) || echo $k differs; done 2>/dev/null; \
                  cat /proc/self/cgroup | grep -c slipway; unshare -U true 2>/dev/null || echo refused; ulimit -n; exit 9";
    let ran = exec(world, &["sh", "-c", script], "").await;
    let differs = if world.is_built_in() {
        // Nothing may be looked up in the platform's init.
        "user differs\npid differs\nmnt differs\nnet differs\nipc differs\nuts differs\ncgroup differs\n"
    } else {
        ""
    };
    let caps = "CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\n";
    assert_eq!(
        ran.out,
        format!("typed\n/tmp\nyes 1\n0\n{caps}NoNewPrivs:\t0\nSeccomp:\t2\n{differs}0\nrefused\n1024\n"),
        "{}",
        ran.err
    );
    assert_eq!(ran.code, 9);
    let script = "id -u; id -g; id -G; grep CapEff /proc/self/status; echo $HOME $USER; echo x >/dev/stdout; echo e >&2";
    let ran = exec(world, &["sh", "-c", script], "app").await;
    assert_eq!(
        ran.out.lines().collect::<Vec<_>>(),
        [
            "1000",
            "1001",
            "1001 29",
            "CapEff:\t0000000000000000",
            "/home/app app",
            "x"
        ],
        "{}",
        ran.err
    );
    assert_eq!(ran.err, "e\n");
    assert_eq!(exec(world, &["sh", "-c", "kill -9 $$"], "").await.code, 137);
    world.runtime.delete("host").await.expect("deleted");
    world.assert_nothing_left().await;
}

pub async fn what_cannot_be_run_says_so_to_the_user(world: &World) {
    running(world).await;
    let refused = world.begin("host", &["nonsense"], "").await;
    let Err(Error::Start { reason }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        reason,
        "cannot run nonsense: executable file not found in the container's PATH"
    );
    let refused = world
        .begin("host", &["true"], "nobody")
        .await
        .expect_err("unknown user");
    assert!(
        refused.to_string().starts_with("unable to find user nobody"),
        "{refused}"
    );
    world.runtime.kill("host").await.expect("killed");
    soon(world.runtime.wait("host")).await.expect("ended");
    let late = world.begin("host", &["true"], "").await;
    assert!(matches!(late, Err(Error::State { .. })), "{late:?}");
    world.runtime.delete("host").await.expect("deleted");
    world.assert_nothing_left().await;
}

/// Waits until the program says "on".
async fn until_on(handle: &mut ExecHandle) {
    let mut word = [0; 3];
    soon(handle.output.read_exact(&mut word)).await.expect("readable");
    assert_eq!(&word, b"on\n");
}

pub async fn commands_get_signals_and_end_with_their_caller_and_the_container(world: &World) {
    running(world).await;
    let argv = [
        "sh",
        "-c",
        "trap 'echo caught; exit 7' USR1; echo on; while :; do sleep 0.05; done",
    ];
    let mut handle = world.begin("host", &argv, "").await.expect("started");
    until_on(&mut handle).await;
    handle.signal("USR1".parse().expect("a signal")).expect("sent");
    assert_eq!(soon(handle.wait()).await.expect("ended"), 7);
    assert_eq!(read_all(&mut handle.output).await, "caught\n");
    handle.signal(Signal::TERM).expect("nothing to send it to");

    let argv = ["sh", "-c", "echo on; exec sleep 60"];
    let mut dropped = world.begin("host", &argv, "app").await.expect("started");
    until_on(&mut dropped).await;
    drop(dropped);
    // The container's own program, and the pid 1 of ours.
    let left = if world.is_built_in() { 3 } else { 2 };
    until(
        || world.runtime.stats("host").expect("counted").pids <= left,
        || "the command outlived its caller".to_owned(),
    )
    .await;

    let mut killed = world.begin("host", &argv, "").await.expect("started");
    until_on(&mut killed).await;
    world.runtime.kill("host").await.expect("killed");
    assert_eq!(soon(killed.wait()).await.expect("ended"), 137);
    soon(world.runtime.wait("host")).await.expect("ended");
    world.runtime.delete("host").await.expect("deleted");
    world.assert_nothing_left().await;
}

pub async fn a_terminal_is_one(world: &World) {
    running(world).await;
    // Other runtimes set the size when the program may run already.
    let script = "tty; while ! stty size 2>/dev/null | grep -v '^0 0'; do :; done; test -t 0 && test -t 1 && test -t 2 && echo all; trap 'stty size' WINCH; \
                  echo from-tty >/dev/tty; id -u; stat -c %u $(tty); echo ready; \
                  while ! read line; do :; done; echo got $line; exit 4";
    for (user, uid) in [("", "0"), ("app", "1000")] {
        let mut spec = exec_spec(&["sh", "-c", script], user);
        spec.terminal = Some(SMALL);
        let mut handle = soon(world.runtime.exec("host", spec)).await.expect("started");
        assert!(handle.errors.is_none());
        let mut seen = String::new();
        while !seen.contains("ready") {
            let mut chunk = [0; 1024];
            let count = soon(handle.output.read(&mut chunk)).await.expect("readable");
            assert!(count > 0, "{seen:?}");
            seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
        let lines: Vec<&str> = seen.lines().collect();
        assert!(lines[0].starts_with("/dev/pts/"), "{seen:?}");
        // This crun leaves the terminal of a command to the container's root.
        let owner = if world.is_made_by("crun") { "0" } else { uid };
        assert_eq!(
            lines[1..],
            ["24 80", "all", "from-tty", uid, owner, "ready"],
            "{seen:?}"
        );
        handle
            .resize(WindowSize {
                rows: 50,
                columns: 132,
            })
            .expect("resized");
        let mut stdin = handle.stdin.take().expect("the terminal");
        stdin.write_all(b"words\n").await.expect("written");
        let rest = read_all(&mut handle.output).await;
        assert!(rest.contains("got words"), "{rest:?}");
        assert_eq!(soon(handle.wait()).await.expect("ended"), 4);
        // Programs on the terminal were told of its new size; busybox runs the trap after the read.
        let script = "while ! stty size 2>/dev/null | grep -v '^0 0'; do :; done";
        let mut spec = exec_spec(&["sh", "-c", script], user);
        spec.terminal = Some(WindowSize { rows: 7, columns: 9 });
        let mut handle = soon(world.runtime.exec("host", spec)).await.expect("started");
        assert_eq!(read_all(&mut handle.output).await.trim_end(), "7 9");
        assert_eq!(soon(handle.wait()).await.expect("ended"), 0);
    }
    world.runtime.delete("host").await.expect("deleted");
    world.assert_nothing_left().await;
}

pub async fn control_characters_and_hang_ups_reach_the_program(world: &World) {
    running(world).await;
    let terminal = |script: &str| {
        let mut spec = exec_spec(&["sh", "-c", script], "");
        spec.terminal = Some(SMALL);
        spec
    };
    let interrupted = terminal("echo on; exec sleep 60");
    let mut handle = soon(world.runtime.exec("host", interrupted))
        .await
        .expect("started");
    let mut word = [0; 4];
    soon(handle.output.read_exact(&mut word)).await.expect("readable");
    let stdin = handle.stdin.as_mut().expect("the terminal");
    stdin.write_all(b"\x03").await.expect("written");
    assert_eq!(soon(handle.wait()).await.expect("ended"), 130);

    let sized = terminal("trap 'stty size; exit 0' WINCH; echo on; while :; do sleep 0.05; done");
    let mut handle = soon(world.runtime.exec("host", sized)).await.expect("started");
    soon(handle.output.read_exact(&mut word)).await.expect("readable");
    handle
        .resize(WindowSize { rows: 3, columns: 5 })
        .expect("resized");
    assert_eq!(read_all(&mut handle.output).await.trim(), "3 5");
    assert_eq!(soon(handle.wait()).await.expect("ended"), 0);
    world.runtime.delete("host").await.expect("deleted");
    world.assert_nothing_left().await;
}

pub async fn an_image_without_a_shell_is_enough(world: &World) {
    for entry in std::fs::read_dir(world.rootfs.join("bin")).expect("listable") {
        let path = entry.expect("entry").path();
        if path.file_name().is_some_and(|name| name != "busybox") {
            std::fs::remove_file(path).expect("removed");
        }
    }
    let spec = world.spec(
        "host",
        &["/bin/busybox", "sh", "-c", "echo up; exec /bin/busybox sleep 60"],
    );
    world.up(&spec).await;
    let ran = exec(world, &["/bin/busybox", "echo", "a  b", "$HOME"], "").await;
    assert_eq!((ran.code, ran.out.as_str()), (0, "a  b $HOME\n"));
    world.runtime.delete("host").await.expect("deleted");
}
