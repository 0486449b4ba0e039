//! What a program sees and may do.

use std::fs;
use std::os::unix::fs::symlink;

use runtime::BindFile;

use crate::world::World;

#[tokio::test]
async fn identity_rights_and_namespaces() {
    let world = World::new();
    let script = "id -u; id -g; grep -E '^(Cap|Seccomp:|NoNewPrivs|Groups)' /proc/self/status; hostname; \
                  cat /proc/self/uid_map; ls /proc | grep -c '^[0-9]'; cat /proc/1/comm; tr '\\0' ' ' </proc/1/cmdline";
    let mut spec = world.script("who", script);
    spec.hostname = "myhost".to_owned();
    let (exit, lines) = world.run(&spec).await;
    assert_eq!(exit.code(), 0, "{lines:?}");
    let map = format!("         0 {:>10}      65536", world.range.first_host_id);
    let caps = "00000000a80425fb";
    for wanted in [
        "0",
        "Groups:\t ",
        "CapInh:\t0000000000000000",
        &format!("CapPrm:\t{caps}"),
        &format!("CapEff:\t{caps}"),
        &format!("CapBnd:\t{caps}"),
        "CapAmb:\t0000000000000000",
        "Seccomp:\t2",
        "NoNewPrivs:\t0",
        "myhost",
        &map,
        "init",
    ] {
        assert!(
            lines.iter().any(|line| line.trim_end() == wanted.trim_end()),
            "{wanted:?} in {lines:#?}"
        );
    }
    assert!(
        !lines.iter().any(|line| line.contains("runtime-shim")),
        "{lines:#?}"
    );
}

#[tokio::test]
async fn every_namespace_is_its_own() {
    let world = World::new();
    let kinds = ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"];
    let script = format!("for k in {}; do readlink /proc/self/ns/$k; done", kinds.join(" "));
    let inside = world.sh(&script).await;
    assert_eq!(inside.len(), kinds.len());
    for (kind, inside) in kinds.iter().zip(inside) {
        let outside = fs::read_link(format!("/proc/self/ns/{kind}")).expect("readable");
        assert_ne!(outside.to_str(), Some(inside.as_str()), "{kind}");
    }
}

#[tokio::test]
async fn users_are_looked_up_in_the_image() {
    let world = World::new();
    let script = "id -u; id -g; id -G; echo $HOME $USER; echo $PATH; grep CapEff /proc/self/status; \
                  grep CapBnd /proc/self/status; echo out >/dev/stdout; echo err >/dev/stderr";
    let mut spec = world.script("app", script);
    spec.user = "app".to_owned();
    let (exit, lines) = world.run(&spec).await;
    assert_eq!(exit.code(), 0, "{lines:?}");
    let expected = [
        "1000",
        "1001",
        "1001 29",
        "/home/app app",
        "/usr/local/bin:/usr/bin:/bin",
        "CapEff:\t0000000000000000",
        "CapBnd:\t00000000a80425fb",
    ];
    assert_eq!(lines[..7], expected);
    assert!(
        lines.contains(&"out".to_owned()) && lines.contains(&"err".to_owned()),
        "{lines:?}"
    );

    let mut spec = world.script("number", "id -u; id -g; echo $HOME $USER");
    spec.user = "4242:29".to_owned();
    assert_eq!(world.run(&spec).await.1, ["4242", "29", "/ 4242:29"]);
}

#[tokio::test]
async fn set_user_id_programs_work() {
    let world = World::new();
    let mut spec = world.spec(
        "su",
        &[
            "/bin/busybox-setuid",
            "su",
            "root",
            "-c",
            "id -u; grep CapEff /proc/self/status",
        ],
    );
    spec.user = "app".to_owned();
    let (exit, lines) = world.run(&spec).await;
    assert_eq!(
        (exit.code(), lines),
        (0, vec!["0".to_owned(), "CapEff:\t00000000a80425fb".to_owned()])
    );
}

#[tokio::test]
async fn environment_and_directory_arrive_verbatim() {
    let world = World::new();
    let mut spec = world.script("env", "env | sort; pwd; stat -c '%u %a' .");
    spec.env = ["QUOTE=it's $1 \"x\"", "A=1", "A=2", "HOME=/custom"]
        .map(str::to_owned)
        .to_vec();
    spec.cwd = "/srv/made/here".to_owned();
    spec.user = "1000:1000".to_owned();
    let (_, lines) = world.run(&spec).await;
    let expected = [
        "A=2",
        "HOME=/custom",
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "PWD=/srv/made/here",
        "QUOTE=it's $1 \"x\"",
    ];
    assert_eq!(lines[..5], expected, "{lines:?}");
    assert!(
        !lines
            .iter()
            .any(|line| line.starts_with("TMPDIR") || line.starts_with("LANG")),
        "{lines:?}"
    );
    assert_eq!(lines[lines.len() - 2..], ["/srv/made/here", "1000 755"]);
}

#[tokio::test]
async fn mounts_are_the_platforms_and_closed_paths_stay_closed() {
    let world = World::new();
    let script = "wc -c </proc/timer_list; ls /sys/firmware | wc -l; ls /proc/scsi 2>/dev/null | wc -l; \
                  (echo 1 >/proc/sys/kernel/panic) 2>&1; (echo b >/proc/sysrq-trigger) 2>&1; \
                  (mkdir /sys/fs/cgroup/memory/x) 2>&1; (echo x >/sys/kernel/profiling) 2>&1; \
                  mount -t tmpfs none /tmp 2>&1; unshare -U true 2>&1; unshare -m true 2>&1; dmesg 2>&1 | tail -1; \
                  mknod /tmp/sda b 8 0 2>&1; chroot / /bin/busybox echo chroot works; \
                  cat /proc/self/mountinfo | wc -l; ls /dev | tr '\\n' ' '";
    let lines = world.sh(script).await;
    let all = lines.join("\n");
    assert_eq!(lines[..3], ["0", "0", "0"], "{all}");
    for wanted in [
        "mount: permission denied",
        "unshare",
        "chroot works",
        "dmesg",
        "mknod: /tmp/sda",
    ] {
        assert!(all.contains(wanted), "{wanted:?} in {all}");
    }
    assert!(
        all.matches("Read-only file system").count() + all.matches("ermission denied").count() >= 4,
        "{all}"
    );
    assert!(
        all.contains("fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"),
        "{all}"
    );
}

#[tokio::test]
async fn the_hosts_files_are_out_of_reach() {
    let world = World::new();
    let outside = world.dir.path().to_str().expect("UTF-8").to_owned();
    let script = format!(
        "ls {outside} 2>&1; ls /proc/1/root/ 2>&1 | head -1; readlink /proc/1/exe 2>&1; ls -l /proc/1/fd 2>&1 | head -1; \
         cat /proc/1/environ 2>&1 | head -c 100; ls -l /proc/self/fd | grep -v proc; grep -c {outside} /proc/self/mountinfo"
    );
    let (_, lines) = world.run(&world.script("reach", &script)).await;
    let all = lines.join("\n");
    assert!(all.contains("No such file or directory"), "{all}");
    assert!(all.matches("ermission denied").count() >= 3, "{all}");
    assert!(!all.contains("runtime-shim") && !all.contains("log.0"), "{all}");
}

#[tokio::test]
async fn devices_terminals_and_loopback_work() {
    let world = World::new();
    let script = "echo x >/dev/null && head -c 4 /dev/zero | wc -c && head -c 4 /dev/urandom | wc -c; \
                  test -c /dev/pts/ptmx && echo ptmx; echo shm >/dev/shm/x && cat /dev/shm/x; \
                  cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range; \
                  wc -c </dev/stdin; (read line </dev/tty) 2>/dev/null || echo no tty";
    for user in ["", "app"] {
        let mut spec = world.script("dev", script);
        spec.user = user.to_owned();
        let (_, lines) = world.run(&spec).await;
        assert_eq!(
            lines,
            ["4", "4", "ptmx", "shm", "0", "0\t65535", "0", "no tty"],
            "user {user:?}"
        );
    }
}

#[tokio::test]
async fn any_user_may_bind_port_80() {
    let world = World::new();
    let mut spec = world.script(
        "http",
        "cd /tmp; echo hi >index.html; httpd -p 127.0.0.1:80; wget -qO- http://127.0.0.1/",
    );
    spec.user = "app".to_owned();
    assert_eq!(world.run(&spec).await.1, ["hi"]);
}

#[tokio::test]
async fn files_of_the_caller_are_shown_read_only() {
    let world = World::new();
    let resolv = world.dir.path().join("resolv.conf");
    fs::write(&resolv, "nameserver 192.0.2.1\n").expect("written");
    let certs = world.dir.path().join("certs");
    fs::create_dir(&certs).expect("made");
    fs::write(certs.join("ca.crt"), "cert\n").expect("written");
    // An image whose link leads nowhere, and tries to lead out.
    symlink(
        "../../../../run/systemd/resolve/resolved.conf",
        world.rootfs.join("etc/resolv.conf"),
    )
    .expect("linked");
    let script = "cat /etc/resolv.conf /etc/deep/certs/ca.crt; (echo x >/etc/resolv.conf) 2>&1; \
                  (echo x >/etc/deep/certs/y) 2>&1; ls -l /etc/resolv.conf | grep -o 'resolved.conf'";
    let mut spec = world.script("files", script);
    spec.files = vec![
        BindFile {
            source: resolv.clone(),
            destination: "/etc/resolv.conf".to_owned(),
        },
        BindFile {
            source: certs,
            destination: "/etc/deep/certs".to_owned(),
        },
    ];
    let (_, lines) = world.run(&spec).await;
    assert_eq!(lines[..2], ["nameserver 192.0.2.1", "cert"], "{lines:?}");
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.contains("Read-only file system"))
            .count(),
        2,
        "{lines:?}"
    );
    assert_eq!(
        fs::read_to_string(resolv).expect("readable"),
        "nameserver 192.0.2.1\n"
    );
    assert!(world.rootfs.join("run/systemd/resolve/resolved.conf").exists());
}

#[tokio::test]
async fn the_processes_of_other_containers_and_the_host_are_unseen() {
    let world = World::new();
    let lines = world
        .sh("ps -o pid | tail -n +2 | sort -n | tr -d ' ' | head -2; kill -9 1; echo alive; kill -0 1")
        .await;
    assert_eq!(lines, ["1", "2", "alive"]);
}

#[tokio::test]
async fn root_may_ping() {
    let world = World::new();
    let lines = world.sh("ping -c 1 -W 5 127.0.0.1 | grep -c 'bytes from'").await;
    assert_eq!(lines, ["1"]);
}
