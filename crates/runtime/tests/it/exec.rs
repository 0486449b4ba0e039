//! More programs in a running container.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use runtime::{Error, ExecSpec};
use rustix::pipe::pipe;

use crate::world::{World, soon};

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn spec(argv: &[&str], user: &str) -> (ExecSpec, OwnedFd, OwnedFd, OwnedFd) {
    let ((stdin, input), (output, stdout), (errors, stderr)) = (
        pipe().expect("pipe"),
        pipe().expect("pipe"),
        pipe().expect("pipe"),
    );
    let argv = argv.iter().map(|&text| text.to_owned()).collect();
    let env = vec!["EXTRA=1".to_owned()];
    let spec = ExecSpec {
        argv,
        env,
        cwd: String::new(),
        user: user.to_owned(),
        stdin,
        stdout,
        stderr,
    };
    (spec, input, output, errors)
}

async fn exec(world: &World, argv: &[&str], user: &str) -> Ran {
    let (spec, input, output, errors) = spec(argv, user);
    File::from(input).write_all(b"typed\n").expect("written");
    let code = soon(world.runtime.exec("host", spec)).await.expect("ran");
    let read = |fd: OwnedFd| {
        let mut text = String::new();
        File::from(fd).read_to_string(&mut text).expect("readable");
        text
    };
    Ran {
        code,
        out: read(output),
        err: read(errors),
    }
}

async fn running() -> World {
    let world = World::new();
    let mut spec = world.script("host", "echo up; sleep 60");
    spec.env = vec!["OWN=yes".to_owned()];
    spec.cwd = "/tmp".to_owned();
    world.runtime.create(&spec).await.expect("created");
    world.runtime.start("host").await.expect("started");
    world.until_output("host", "up").await;
    world
}

#[tokio::test]
async fn a_command_has_the_programs_surroundings_and_no_more_rights() {
    let world = running().await;
    let script = "cat; pwd; echo $OWN $EXTRA; id -u; grep -E '^(CapBnd|CapEff|Seccomp:)' /proc/self/status; \
                  for k in user pid mnt net ipc uts cgroup; do \
                  test $(readlink /proc/self/ns/$k) = $(readlink /proc/2/ns/$k) || echo $k differs; done; \
                  cat /proc/self/cgroup | grep -c slipway; unshare -U true 2>/dev/null || echo refused; exit 9";
    let ran = exec(&world, &["sh", "-c", script], "").await;
    assert_eq!(
        ran.out.lines().collect::<Vec<_>>(),
        [
            "typed",
            "/tmp",
            "yes 1",
            "0",
            "CapEff:\t00000000a80425fb",
            "CapBnd:\t00000000a80425fb",
            "Seccomp:\t2",
            "0",
            "refused",
        ],
        "{}",
        ran.err
    );
    assert_eq!(ran.code, 9);
    let ran = exec(
        &world,
        &[
            "sh",
            "-c",
            "id -u; grep CapEff /proc/self/status; echo x >/dev/stdout",
        ],
        "app",
    )
    .await;
    assert_eq!(
        ran.out.lines().collect::<Vec<_>>(),
        ["1000", "CapEff:\t0000000000000000", "x"],
        "{}",
        ran.err
    );
    assert_eq!(exec(&world, &["sh", "-c", "kill -9 $$"], "").await.code, 137);
    world.runtime.delete("host").await.expect("deleted");
    world.assert_nothing_left().await;
}

#[tokio::test]
async fn what_cannot_be_run_says_so_to_the_user() {
    let world = running().await;
    let ran = exec(&world, &["nonsense"], "").await;
    assert_eq!((ran.code, ran.out.as_str()), (127, ""));
    assert_eq!(
        ran.err,
        "cannot run nonsense: executable file not found in the container's PATH\n"
    );
    assert!(
        exec(&world, &["true"], "nobody")
            .await
            .err
            .starts_with("unable to find user nobody")
    );
    let (mut on_device, ..) = spec(&["true"], "");
    on_device.stdin = File::open("/dev/null").expect("open").into();
    assert_eq!(
        soon(world.runtime.exec("host", on_device)).await.expect("ran"),
        127
    );
    world.runtime.kill("host").await.expect("killed");
    soon(world.runtime.wait("host")).await.expect("ended");
    let (late, ..) = spec(&["true"], "");
    assert!(matches!(
        world.runtime.exec("host", late).await,
        Err(Error::State { .. })
    ));
}

/// Waits until the program says "on"; returns its output's end.
async fn until_on(output: OwnedFd) -> File {
    let read = tokio::task::spawn_blocking(move || {
        let (mut output, mut word) = (File::from(output), [0; 3]);
        output.read_exact(&mut word).expect("readable");
        assert_eq!(&word, b"on\n");
        output
    });
    soon(read).await.expect("no panic")
}

#[tokio::test]
async fn commands_end_with_their_caller_and_with_the_container() {
    let world = running().await;
    let argv = ["sh", "-c", "echo on; exec sleep 60"];
    let (dropped, _input, output, _errors) = spec(&argv, "app");
    let mut output = tokio::select! {
        code = world.runtime.exec("host", dropped) => panic!("it ended: {code:?}"),
        output = until_on(output) => output,
    };
    // The pipe ends when the program, its last holder, is dead.
    let ended = tokio::task::spawn_blocking(move || output.read_to_end(&mut Vec::new()));
    soon(ended).await.expect("no panic").expect("readable");

    let (killed, _input, output, _errors) = spec(&argv, "");
    let (code, ()) = tokio::join!(soon(world.runtime.exec("host", killed)), async {
        until_on(output).await;
        world.runtime.kill("host").await.expect("killed");
    });
    assert_eq!(code.expect("ended"), 137);
    soon(world.runtime.wait("host")).await.expect("ended");
    world.runtime.delete("host").await.expect("deleted");
    world.assert_nothing_left().await;
}
