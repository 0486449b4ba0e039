//! What cannot be run says why, and leaves nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use runtime::{Error, ExitCause};

use crate::world::{World, soon};

async fn start_error(world: &World, argv: &[&str], user: &str) -> String {
    let mut spec = world.spec("refused", argv);
    spec.user = user.to_owned();
    world.runtime.create(&spec).await.expect("created");
    let Err(Error::Start { reason }) = world.runtime.start("refused").await else {
        panic!("{argv:?} started")
    };
    let exit = soon(world.runtime.wait("refused")).await.expect("ended");
    assert_eq!(
        (exit.cause.clone(), exit.code()),
        (ExitCause::NotStarted(reason.clone()), 127)
    );
    world.runtime.delete("refused").await.expect("deleted");
    reason
}

#[tokio::test]
async fn a_program_that_cannot_run_says_why() {
    let world = World::new();
    fs::write(
        world.rootfs.join("bin/foreign"),
        b"\x7fELF\x02\x01\x01 not really",
    )
    .expect("written");
    fs::set_permissions(
        world.rootfs.join("bin/foreign"),
        fs::Permissions::from_mode(0o755),
    )
    .expect("set");
    fs::write(world.rootfs.join("bin/data"), b"x").expect("written");
    for (argv, user, wanted) in [
        (
            "nonsense",
            "",
            "cannot run nonsense: executable file not found in the container's PATH",
        ),
        (
            "/bin/nonsense",
            "",
            "cannot run /bin/nonsense: no such file in the image",
        ),
        ("/bin/data", "app", "cannot run /bin/data: permission denied"),
        ("foreign", "", "cannot run foreign: exec format error"),
        ("/bin", "", "cannot run /bin: permission denied"),
    ] {
        let reason = start_error(&world, &[argv], user).await;
        assert!(reason.starts_with(wanted), "{reason}");
    }
    world.assert_nothing_left().await;
}

#[tokio::test]
async fn a_container_that_cannot_be_made_says_why_and_leaves_nothing() {
    let world = World::new();
    let mut spec = world.script("setup", "true");
    spec.user = "nobody".to_owned();
    let refused = world.runtime.create(&spec).await.expect_err("unknown user");
    assert!(
        refused
            .to_string()
            .ends_with("unable to find user nobody: no matching entries in passwd file"),
        "{refused}"
    );
    spec.user = "70000".to_owned();
    let refused = world
        .runtime
        .create(&spec)
        .await
        .expect_err("id outside")
        .to_string();
    assert!(
        refused.ends_with("id 70000 is not among the 65536 ids of the container"),
        "{refused}"
    );
    spec.user.clear();
    spec.rootfs = world.dir.path().join("missing");
    let refused = world
        .runtime
        .create(&spec)
        .await
        .expect_err("no rootfs")
        .to_string();
    assert!(refused.contains("No such file or directory"), "{refused}");
    world.assert_nothing_left().await;
}

#[tokio::test]
async fn hostile_images_are_refused() {
    for place in ["proc", "sys", "dev"] {
        let world = World::new();
        symlink("/tmp", world.rootfs.join(place)).expect("linked");
        let refused = world
            .runtime
            .create(&world.script("hostile", "true"))
            .await
            .expect_err("a symlink")
            .to_string();
        assert!(
            refused.contains(&format!("the image has a symlink at /{place}")),
            "{refused}"
        );
        world.assert_nothing_left().await;
    }
}

#[tokio::test]
async fn special_files_in_etc_do_not_hang_the_look_up() {
    let world = World::new();
    fs::remove_file(world.rootfs.join("etc/passwd")).expect("removed");
    let fifo = world.rootfs.join("etc/passwd");
    let made = std::process::Command::new("/bin/busybox")
        .arg("mkfifo")
        .arg(&fifo)
        .status()
        .expect("runs");
    assert!(made.success());
    assert_eq!(world.sh("echo $USER $HOME").await, ["root /"]);
}

#[tokio::test]
async fn a_working_directory_outside_is_refused() {
    let world = World::new();
    for cwd in [
        "/proc/self/fd/0",
        "/proc/self/fd/3",
        "/proc/self/fd/7",
        "/etc/passwd",
    ] {
        let mut spec = world.script("cwd", "pwd");
        spec.cwd = cwd.to_owned();
        world.runtime.create(&spec).await.expect("created");
        let refused = world.runtime.start("cwd").await;
        assert!(matches!(refused, Err(Error::Start { .. })), "{cwd}: {refused:?}");
        world.runtime.delete("cwd").await.expect("deleted");
    }
}

#[tokio::test]
async fn the_platforms_own_binary_is_out_of_reach() {
    let world = World::new();
    let reason = start_error(&world, &["/proc/self/exe", "x"], "").await;
    assert!(reason.contains("it is a link of /proc"), "{reason}");
}

#[tokio::test]
async fn ids_are_used_once() {
    let world = World::new();
    let spec = world.script("twice", "sleep 60");
    world.runtime.create(&spec).await.expect("created");
    assert!(matches!(
        world.runtime.create(&spec).await,
        Err(Error::Exists { .. })
    ));
    world.runtime.delete("twice").await.expect("deleted");
    world.runtime.create(&spec).await.expect("the id is free again");
    assert!(matches!(
        world.runtime.state("../etc").await,
        Err(Error::Invalid { .. })
    ));
}
