//! One suite of behaviour, run on containers made by the built-in runtime, by crun and by runc. Where they differ, the
//! test says so at that place.

use std::fs;

use runtime::{BindFile, Error, ExitCause, Signal, State};

use crate::exec::*;
use crate::world::{World, processes_of, soon, until};

/// Each of these functions becomes one test per runtime.
macro_rules! on_every_runtime {
    ($($name:ident),* $(,)?) => {
        mod built_in {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::World::new()).await;
            })*
        }
        mod crun {
            $(#[tokio::test]
            async fn $name() {
                if let Some(world) = super::World::of("crun") {
                    super::$name(&world).await;
                }
            })*
        }
        mod runc {
            $(#[tokio::test]
            async fn $name() {
                if let Some(world) = super::World::of("runc") {
                    super::$name(&world).await;
                }
            })*
        }
    };
}

on_every_runtime! {
    life,
    limits,
    out_of_memory,
    namespaces_and_identity,
    users,
    mounts_and_masks,
    files,
    filter,
    set_user_id,
    signals,
    output,
    refusals,
    adoption,
    a_lost_shim,
    a_command_has_the_programs_surroundings_and_no_more_rights,
    what_cannot_be_run_says_so_to_the_user,
    commands_get_signals_and_end_with_their_caller_and_the_container,
    a_terminal_is_one,
    control_characters_and_hang_ups_reach_the_program,
    an_image_without_a_shell_is_enough,
}

async fn life(world: &World) {
    let spec = world.script("one", "echo hello; exit 7");
    let pid = world.runtime.create(&spec).await.expect("created");
    assert_eq!(
        world.runtime.state("one").await.expect("state"),
        State::Created { pid }
    );
    assert!(fs::exists(format!("/proc/{pid}/ns/net")).expect("visible"));
    world.runtime.start("one").await.expect("started");
    let exit = soon(world.runtime.wait("one")).await.expect("ended");
    assert_eq!(
        (exit.cause.clone(), exit.out_of_memory),
        (ExitCause::Status(7), false)
    );
    assert_eq!(
        world.runtime.state("one").await.expect("state"),
        State::Exited(exit)
    );
    assert_eq!(world.output("one").await, ["hello"]);
    world.runtime.delete("one").await.expect("deleted");
    assert_eq!(world.runtime.state("one").await.expect("state"), State::Gone);
    // One that was never started, and one that runs.
    world.runtime.create(&spec).await.expect("created");
    world.runtime.delete("one").await.expect("deleted");
    world
        .up(&world.script("busy", "echo up; sleep 60 & sleep 60"))
        .await;
    world.runtime.delete("busy").await.expect("deleted");
    world.assert_nothing_left().await;
}

async fn limits(world: &World) {
    let script = "ulimit -n; ulimit -c; cat /sys/fs/cgroup/memory/memory.limit_in_bytes \
                  /sys/fs/cgroup/cpu/cpu.shares 2>/dev/null || cat /sys/fs/cgroup/memory.max; \
                  grep -c slipway /proc/self/cgroup; \
                  i=0; while [ $i -lt 60 ]; do sleep 60 & i=$((i+1)); done";
    let mut spec = world.script("seen", script);
    spec.limits.memory_bytes = 1016 << 20;
    spec.limits.nofile = 777;
    spec.limits.pids = 20;
    let (_, lines) = world.run(&spec).await;
    assert_eq!(lines[..2], ["777", "0"], "{lines:?}");
    assert!(lines.contains(&(1016_u64 << 20).to_string()), "{lines:?}");
    assert!(
        lines.contains(&"0".to_owned()),
        "no host path in /proc/self/cgroup: {lines:?}"
    );
    assert!(lines.iter().any(|line| line.contains("can't fork")), "{lines:?}");

    let script = "head -c 8000000 /dev/zero >/dev/shm/x; echo up; exec sleep 60";
    world.up(&world.script("stats", script)).await;
    let stats = world.runtime.stats("stats").expect("counted");
    assert!(
        stats.memory_bytes > 8_000_000 && stats.memory_bytes < 128 << 20,
        "{stats:?}"
    );
    // The platform's own init, where there is one.
    assert_eq!(stats.pids, 1 + u64::from(world.is_built_in()), "{stats:?}");
    world.runtime.delete("stats").await.expect("deleted");
    world.assert_nothing_left().await;
}

async fn out_of_memory(world: &World) {
    let mut spec = world.script("oom", "exec dd if=/dev/zero of=/dev/null bs=200M count=1");
    spec.limits.memory_bytes = 32 << 20;
    let (exit, _) = world.run(&spec).await;
    assert_eq!(
        (exit.cause.clone(), exit.out_of_memory, exit.code()),
        (ExitCause::Signal(Signal::KILL), true, 137)
    );
}

async fn namespaces_and_identity(world: &World) {
    let script = "for k in user pid mnt net ipc uts cgroup; do readlink /proc/self/ns/$k; done; \
                  grep -E '^(Cap|Seccomp:|NoNewPrivs|Groups)' /proc/self/status; hostname; cat /proc/self/uid_map; \
                  (read line </dev/tty) 2>/dev/null || echo no tty; ls /proc/self/fd; wc -c </dev/stdin; \
                  cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ip link | grep -c UP";
    let mut spec = world.script("who", script);
    spec.hostname = "myhost".to_owned();
    let (exit, lines) = world.run(&spec).await;
    assert_eq!(exit.code(), 0, "{lines:?}");
    for (kind, inside) in ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"]
        .iter()
        .zip(&lines)
    {
        let outside = fs::read_link(format!("/proc/self/ns/{kind}")).expect("readable");
        assert_ne!(outside.to_str(), Some(inside.as_str()), "{kind}");
    }
    let map = format!("         0 {:>10}      65536", world.range.first_host_id);
    let expected = [
        "Groups:\t",
        "CapInh:\t0000000000000000",
        "CapPrm:\t00000000a80425fb",
        "CapEff:\t00000000a80425fb",
        "CapBnd:\t00000000a80425fb",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t0",
        "Seccomp:\t2",
        "myhost",
        map.as_str(),
        "no tty",
        // The fourth is the directory being listed.
        "0",
        "1",
        "2",
        "3",
        "0",
        "0",
        "1",
    ];
    let rest: Vec<&str> = lines[7..]
        .iter()
        .map(|line| line.trim_end_matches([' ', '\0']))
        .collect();
    assert_eq!(rest, expected);
    world.assert_nothing_left().await;
}

async fn users(world: &World) {
    let script = "id -u; id -g; id -G; echo $HOME $USER; echo $PATH; pwd; stat -c '%u %a' .; \
                  grep -E 'Cap(Eff|Bnd|Amb)' /proc/self/status; echo out >/dev/stdout; echo err >/dev/stderr; \
                  (echo x >/dev/pts/x) 2>/dev/null || echo shut";
    let path = "/usr/local/bin:/usr/bin:/bin";
    for (user, ids, groups, home) in [
        ("app", ["1000", "1001"], "1001 29", "/home/app app"),
        ("1000", ["1000", "1001"], "1001 29", "/home/app 1000"),
        ("app:audio", ["1000", "29"], "29", "/home/app app:audio"),
        ("4242:29", ["4242", "29"], "29", "/ 4242:29"),
        ("4242", ["4242", "0"], "0", "/ 4242"),
    ] {
        let mut spec = world.script("user", script);
        spec.user = user.to_owned();
        spec.cwd = format!("/srv/{}/here", user.replace(':', "-"));
        let (_, mut lines) = world.run(&spec).await;
        lines.sort_by_key(|line| line == "err");
        assert_eq!(
            lines,
            [
                ids[0],
                ids[1],
                groups,
                home,
                path,
                &spec.cwd,
                &format!("{} 755", ids[0]),
                "CapEff:\t0000000000000000",
                "CapBnd:\t00000000a80425fb",
                "CapAmb:\t0000000000000000",
                "out",
                "shut",
                "err",
            ],
            "{user}"
        );
    }
    fs::remove_file(world.rootfs.join("etc/passwd")).expect("removed");
    assert_eq!(world.sh("echo $USER $HOME; id -u").await, ["root /", "0"]);
}

async fn mounts_and_masks(world: &World) {
    let script = "wc -c </proc/timer_list; ls /sys/firmware | wc -l; ls /proc/scsi 2>/dev/null | wc -l; \
                  for path in /proc/sys/kernel/panic /proc/sysrq-trigger /proc/irq/default_smp_affinity \
                  /sys/kernel/profiling /sys/fs/cgroup/memory/memory.limit_in_bytes; do (echo 1 >$path) 2>/dev/null && echo wrote $path; done; \
                  awk '$5 ~ \"^/(proc|sys|dev)($|/(pts|shm|mqueue)$)\" {print $5}' /proc/self/mountinfo | sort | uniq; \
                  cd /dev; for node in null zero full random urandom tty; do test -c $node && echo $node; done; \
                  for link in fd stdin stdout stderr ptmx; do readlink $link; done; ls /dev/sda /dev/mem /dev/kmsg 2>/dev/null; \
                  test -c /dev/pts/ptmx && echo ptmx; echo shm >/dev/shm/x && cat /dev/shm/x; df /dev/shm | tail -1 | awk '{print $2}'";
    let lines = world.sh(script).await;
    let expected = [
        "0",
        "0",
        "0",
        "/dev",
        "/dev/mqueue",
        "/dev/pts",
        "/dev/shm",
        "/proc",
        "/sys",
        "null",
        "zero",
        "full",
        "random",
        "urandom",
        "tty",
        "/proc/self/fd",
        "/proc/self/fd/0",
        "/proc/self/fd/1",
        "/proc/self/fd/2",
        "pts/ptmx",
        "ptmx",
        "shm",
        "131072",
    ];
    assert_eq!(lines, expected);
}

async fn files(world: &World) {
    let resolv = world.dir.path().join("resolv.conf");
    fs::write(&resolv, "nameserver 192.0.2.1\n").expect("written");
    let link = world.rootfs.join("etc/resolv.conf");
    std::os::unix::fs::symlink("../../../../run/resolved.conf", link).expect("linked");
    let mut spec = world.script("files", "cat /etc/resolv.conf; (echo x >/etc/resolv.conf) 2>&1");
    spec.files = vec![BindFile {
        source: resolv.clone(),
        destination: "/etc/resolv.conf".to_owned(),
    }];
    let (_, lines) = world.run(&spec).await;
    assert_eq!(lines[0], "nameserver 192.0.2.1", "{lines:?}");
    assert!(lines[1].contains("Read-only file system"), "{lines:?}");
    assert_eq!(
        fs::read_to_string(resolv).expect("readable"),
        "nameserver 192.0.2.1\n"
    );
    world.assert_nothing_left().await;
}

async fn filter(world: &World) {
    let script = "grep '^Seccomp:' /proc/self/status; unshare -U true 2>/dev/null || echo no user namespace; \
                  unshare -m true 2>/dev/null || echo no mount namespace; \
                  mount -t tmpfs none /tmp 2>/dev/null || echo no mount; \
                  chroot / /bin/busybox echo chroot works; ping -c 1 -W 5 127.0.0.1 | grep -c 'bytes from'";
    let expected = [
        "Seccomp:\t2",
        "no user namespace",
        "no mount namespace",
        "no mount",
        "chroot works",
        "1",
    ];
    assert_eq!(world.sh(script).await, expected);
    world.up(&world.script("host", "echo up; sleep 60")).await;
    let ran = world.exec("host", &["sh", "-c", script], "").await;
    assert_eq!(ran.out.lines().collect::<Vec<_>>(), expected, "{}", ran.err);
    world.runtime.delete("host").await.expect("deleted");
}

async fn set_user_id(world: &World) {
    let argv = [
        "/bin/busybox-setuid",
        "su",
        "root",
        "-c",
        "id -u; grep CapEff /proc/self/status",
    ];
    let mut spec = world.spec("su", &argv);
    spec.user = "app".to_owned();
    let (exit, lines) = world.run(&spec).await;
    assert_eq!(exit.code(), 0, "{lines:?}");
    assert_eq!(lines, ["0", "CapEff:\t00000000a80425fb"]);
}

async fn signals(world: &World) {
    let script = "trap 'echo bye; exit 3' TERM; trap 'echo one' USR1; echo up; while :; do sleep 0.05; done";
    world.up(&world.script("term", script)).await;
    let usr1: Signal = "SIGUSR1".parse().expect("a signal");
    world.runtime.signal("term", usr1).await.expect("sent");
    world.until_output("term", "one").await;
    world.runtime.stop("term").await.expect("stopped");
    let exit = soon(world.runtime.wait("term")).await.expect("ended");
    assert_eq!(exit.cause, ExitCause::Status(3));
    let refused = world.runtime.signal("term", Signal::TERM).await;
    assert!(matches!(refused, Err(Error::State { .. })), "{refused:?}");
    world.runtime.delete("term").await.expect("deleted");

    world
        .up(&world.script(
            "deaf",
            "trap '' TERM HUP INT; (trap '' TERM; sleep 60) & echo up; wait",
        ))
        .await;
    world.runtime.stop("deaf").await.expect("sent");
    world.runtime.kill("deaf").await.expect("killed");
    let exit = soon(world.runtime.wait("deaf")).await.expect("ended");
    assert_eq!(
        (exit.cause.clone(), exit.code()),
        (ExitCause::Signal(Signal::KILL), 137)
    );
    world
        .runtime
        .kill("deaf")
        .await
        .expect("killing what has ended is fine");
    world.runtime.delete("deaf").await.expect("deleted");

    // A program that does not handle a signal dies of it only where it is not pid 1 (pid_namespaces(7)).
    world.up(&world.script("plain", "echo up; exec sleep 60")).await;
    world.runtime.signal("plain", usr1).await.expect("sent");
    if world.is_built_in() {
        let exit = soon(world.runtime.wait("plain")).await.expect("ended");
        assert_eq!((exit.cause.clone(), exit.code()), (ExitCause::Signal(usr1), 138));
    } else {
        assert!(matches!(
            world.runtime.state("plain").await.expect("state"),
            State::Running { .. }
        ));
    }
    world.runtime.delete("plain").await.expect("deleted");
    world.assert_nothing_left().await;
}

async fn output(world: &World) {
    let spec = world.script(
        "both",
        "i=0; while [ $i -lt 2000 ]; do echo out $i; i=$((i+1)); done; echo err >&2; printf tail",
    );
    world.runtime.create(&spec).await.expect("created");
    world.runtime.start("both").await.expect("started");
    soon(world.runtime.wait("both")).await.expect("ended");
    let mut reader = world.runtime.logs("both", 0).await.expect("readable");
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(event) = soon(reader.next()).await.expect("readable") {
        let runtime::LogEvent::Line(line) = event else {
            panic!("{event:?}")
        };
        let text = String::from_utf8(line.text).expect("UTF-8");
        match line.stream {
            runtime::Stream::Stdout => out.push(text),
            runtime::Stream::Stderr => err.push(text),
        }
    }
    let mut expected: Vec<String> = (0..2000).map(|n| format!("out {n}")).collect();
    expected.push("tail".to_owned());
    assert_eq!(out, expected);
    assert_eq!(err, ["err"]);
    world.runtime.delete("both").await.expect("deleted");
}

async fn refusals(world: &World) {
    // Told when it is started, or, by other runtimes, already when it is created.
    let spec = world.spec("refused", &["nonsense"]);
    let refused = match world.runtime.create(&spec).await {
        Ok(_) => {
            let refused = world.runtime.start("refused").await;
            let exit = soon(world.runtime.wait("refused")).await.expect("ended");
            assert!(matches!(exit.cause, ExitCause::NotStarted(_)), "{exit:?}");
            world.runtime.delete("refused").await.expect("deleted");
            refused.expect_err("started")
        }
        Err(error) => error,
    };
    let wanted = "cannot run nonsense: executable file not found in the container's PATH";
    assert!(
        matches!(&refused, Error::Start { reason } if reason == wanted),
        "{refused:?}"
    );
    let mut spec = world.script("setup", "true");
    spec.user = "nobody".to_owned();
    let refused = world
        .runtime
        .create(&spec)
        .await
        .expect_err("unknown user")
        .to_string();
    assert!(
        refused.ends_with("unable to find user nobody: no matching entries in passwd file"),
        "{refused}"
    );
    world.assert_nothing_left().await;
}

async fn adoption(world: &World) {
    let script =
        "trap 'echo leaving; exit 5' TERM; n=0; while :; do echo tick $n; n=$((n+1)); sleep 0.02; done";
    let pid = world
        .runtime
        .create(&world.script("adopt", script))
        .await
        .expect("created");
    world.runtime.start("adopt").await.expect("started");
    world.until_output("adopt", "tick 3").await;
    // The next daemon may prefer another runtime; what runs stays with its own.
    let next = world
        .reopened()
        .using(runtime::OciRuntime::BuiltIn)
        .expect("usable");
    let state = next.state("adopt").await.expect("state");
    assert!(
        matches!(state, State::Running { pid: same, .. } if same == pid),
        "{state:?}"
    );
    assert!(next.stats("adopt").expect("counted").pids > 0);
    next.stop("adopt").await.expect("stopped");
    let exit = soon(next.wait("adopt")).await.expect("ended");
    assert_eq!(exit.cause, ExitCause::Status(5));
    assert_eq!(
        world.output("adopt").await.last().map(String::as_str),
        Some("leaving")
    );
    next.delete("adopt").await.expect("deleted");
    world.assert_nothing_left().await;
}

async fn a_lost_shim(world: &World) {
    world
        .up(&world.script("lost", "echo up; sleep 60 & sleep 60"))
        .await;
    let shims = world.shims();
    let pid = shims
        .first()
        .and_then(|text| text.strip_prefix("process "))
        .expect("one shim");
    let killed = std::process::Command::new(crate::world::BUSYBOX)
        .args(["kill", "-9", pid])
        .status();
    assert!(killed.expect("runs").success());
    let exit = soon(world.runtime.wait("lost")).await.expect("ended");
    assert_eq!(exit.cause, ExitCause::Lost);
    until(
        || processes_of(world.range).is_empty(),
        || "the container outlived its shim and the daemon's look at it".to_owned(),
    )
    .await;
    assert_eq!(world.output("lost").await, ["up"]);
    world.runtime.delete("lost").await.expect("deleted");
    world.assert_nothing_left().await;
}
