//! Published ways out of containers, tried from inside one of the built-in runtime by root in the image, and what must
//! be seen instead. Each row says what is tried, how, and the answer; a new trick is a new row.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use runtime::{BindFile, Error};
use tokio::io::AsyncReadExt;

use crate::world::{World, exec_spec, soon};

/// What is tried, the shell's words for it, what must be printed. `probe` is `probe.c`, built once.
type Row = (&'static str, &'static str, &'static str);

const KERNEL: &[Row] = &[
    (
        "kernel memory through a device",
        "probe open /dev/mem; probe open /dev/kmsg; probe open /dev/kcore",
        "ENOENT ENOENT ENOENT",
    ),
    (
        "the kernel's image and keys",
        "cat /proc/kcore 2>/dev/null | wc -c; wc -c </proc/keys; wc -c </proc/timer_list",
        "0 0 0",
    ),
    (
        "the kernel's log",
        "probe call syslog; dmesg 2>&1 | grep -c permitted",
        "EPERM 1",
    ),
    (
        "rebooting by sysrq",
        "probe write /proc/sysrq-trigger",
        "EROFS|EACCES|ENOENT",
    ),
    (
        "a core dump that runs a program on the host",
        "probe write /proc/sys/kernel/core_pattern",
        "EROFS|EACCES",
    ),
    (
        "a module loader of one's own",
        "probe write /proc/sys/kernel/modprobe",
        "EROFS|EACCES|ENOENT",
    ),
    (
        "a handler of binary formats",
        "probe create /proc/sys/fs/binfmt_misc/register",
        "EROFS|ENOENT|EACCES",
    ),
    (
        "a helper for device events",
        "probe write /sys/kernel/uevent_helper",
        "EROFS|ENOENT|EACCES",
    ),
    (
        "devices' power and firmware",
        "ls /sys/firmware /sys/devices/virtual/powercap 2>/dev/null | grep -v : | wc -w",
        "0",
    ),
    (
        "modules, kexec, reboot, swap, accounting, clocks",
        "for c in init_module finit_module delete_module kexec_load kexec_file_load reboot swapon acct settimeofday clock_settime; do probe call $c; done",
        "EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM",
    ),
    (
        "programs in the kernel, faults in user space, rings, counters",
        "for c in bpf userfaultfd io_uring_setup perf_event_open; do probe call $c; done",
        "EPERM EPERM EPERM EPERM",
    ),
    (
        "keyrings of the host's users",
        "for c in keyctl add_key request_key; do probe call $c; done",
        "EPERM EPERM EPERM",
    ),
    (
        "files by handle (shocker)",
        "probe call open_by_handle_at; probe call name_to_handle_at",
        "EPERM EPERM",
    ),
    (
        "memory and descriptors of other processes",
        "for c in process_vm_readv process_vm_writev pidfd_getfd kcmp; do probe call $c; done",
        "EPERM EPERM EPERM EPERM",
    ),
];

const NAMESPACES: &[Row] = &[
    (
        "mounting inside, by either interface",
        "for c in mount umount2 fsopen fsmount open_tree move_mount mount_setattr pivot_root; do probe call $c; done",
        "EPERM EPERM EPERM EPERM EPERM EPERM EPERM EPERM",
    ),
    (
        "mounting by busybox",
        "mount -t tmpfs none /tmp 2>&1 | grep -c denied; mount -o remount,rw /proc/sys 2>&1 | grep -c denied",
        "1 1",
    ),
    (
        "new and other namespaces",
        "probe call unshare; probe call setns; probe call clone3; nsenter -t 1 -n true 2>/dev/null || echo none",
        "EPERM EPERM ENOSYS none",
    ),
    (
        "a user namespace by clone",
        "probe clone 0x10000011; probe clone 0x20000; probe clone 0x40000000",
        "EPERM EPERM EPERM",
    ),
    (
        "the root, files and environment of the platform's init",
        "for f in root exe cwd fd/0 environ mem ns/mnt; do probe open /proc/1/$f; done; probe trace 1",
        "EACCES EACCES EACCES EACCES EACCES EACCES EACCES EPERM",
    ),
    (
        "a root left behind by chroot",
        "probe chroot /tmp/jail | grep -cx -e bin -e dev -e etc -e proc -e sys",
        "5",
    ),
    (
        "leaving the cgroup by its release agent",
        "for h in memory pids cpu; do probe create /sys/fs/cgroup/$h/release_agent; mkdir /sys/fs/cgroup/$h/x 2>&1 | grep -c 'Read-only\\|denied\\|nonexistent\\|No such'; done",
        "EROFS 1 EROFS 1 EROFS 1",
    ),
    (
        "raising the own limits",
        "probe write /sys/fs/cgroup/memory/memory.limit_in_bytes; probe write /sys/fs/cgroup/pids/pids.max",
        "EROFS|EACCES EROFS|EACCES",
    ),
    (
        "links of other networks",
        "ls /sys/class/net; ip -o link | wc -l",
        "lo 1",
    ),
    (
        "settings of the host's network",
        "probe write /proc/sys/net/ipv4/ip_forward; probe write /proc/sys/kernel/hostname",
        "EROFS|EACCES EROFS|EACCES",
    ),
    (
        "processes of the host",
        "ls /proc | grep -c '^[0-9]' | awk '{print ($1 < 12)}'; probe kill 4194303",
        "1 ESRCH",
    ),
];

const FILES: &[Row] = &[
    (
        "device nodes of one's own",
        "probe node /tmp/sda b 8 0; probe node /tmp/mem c 1 1; probe node /dev/shm/kmsg c 1 11",
        "EPERM EPERM EPERM",
    ),
    (
        "the console and terminals of the host",
        "probe open /dev/console; probe open /dev/tty0; probe open /dev/tty; ls /dev/pts",
        "ENOENT ENOENT ENXIO ptmx",
    ),
    (
        "file systems in user space",
        "probe open /dev/fuse; probe node /tmp/fuse c 10 229",
        "ENOENT EPERM",
    ),
    (
        "more than three descriptors",
        "ls /proc/self/fd | wc -w; ls -l /proc/self/fd 2>/dev/null | grep -c -e shim -e state -e sock",
        "4 0",
    ),
    (
        "a set-user-id program of the host in a bound directory",
        "/opt/host/suid euid; busybox stat -c '%u %a' /opt/host/suid",
        "0 65534 4755",
    ),
    (
        "the same as another user",
        "busybox-setuid su app -s /bin/sh -c '/opt/host/suid euid'",
        "1000",
    ),
    (
        "writing to what is bound read-only",
        "probe write /opt/host/suid; probe create /opt/host/new; rm /opt/host/suid 2>&1 | grep -c Read-only",
        "EROFS|EACCES EROFS|EACCES 1",
    ),
    (
        "becoming the owner of the host's files",
        "chown 0 /opt/host/suid 2>&1 | grep -c Read-only; chmod 777 /proc/sys/kernel 2>&1 | grep -c -e Read-only -e permitted",
        "1 1",
    ),
    (
        "rights beyond the fourteen",
        "grep -E 'Cap(Amb|Inh|Bnd)' /proc/self/status | cut -f2",
        "0000000000000000 00000000a80425fb 0000000000000000",
    ),
    (
        "ports and the processor's tables",
        "probe call iopl 2>/dev/null; probe call ioperm",
        "EPERM EPERM",
    ),
];

const SOCKETS: &[Row] = &[
    (
        "kernel crypto, the hypervisor, bluetooth, keys, rds, xdp",
        "for f in 38 40 31 15 21 44; do probe socket $f 1 0; done",
        "EPERM EPERM EPERM EPERM EPERM EPERM",
    ),
    (
        "the same with bits the kernel throws away",
        "probe socket 0x100000026 5 0; probe socket 0x100000028 1 0",
        "EPERM EPERM",
    ),
    (
        "packets of the host's links",
        "probe socket 17 3 0x300; ip -o link | grep -vc lo",
        "ok 0",
    ),
    (
        "the kernel's audit",
        "probe socket 16 3 9; probe abstract slipway-it-escape-PID",
        "ok ECONNREFUSED",
    ),
];

/// Builds `probe.c`, once.
fn probe() -> &'static Path {
    static PROBE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = PROBE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("probe");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/probe.c");
        let built = Command::new("cc")
            .args(["-static", "-O1", "-o"])
            .arg(&path)
            .arg(source)
            .status();
        assert!(built.expect("a C compiler is installed").success());
        (dir, path)
    });
    path
}

/// A world whose image has `probe`, and a directory of the host's bound read-only with a set-user-id copy of it.
fn armed() -> (World, Vec<BindFile>) {
    let world = World::new();
    fs::copy(probe(), world.rootfs.join("bin/probe")).expect("copied");
    let host = world.dir.path().join("host");
    fs::create_dir(&host).expect("made");
    fs::copy(probe(), host.join("suid")).expect("copied");
    fs::set_permissions(host.join("suid"), fs::Permissions::from_mode(0o4755)).expect("set");
    let bind = BindFile {
        source: host,
        destination: "/opt/host".to_owned(),
    };
    (world, vec![bind])
}

async fn try_all(rows: &[Row]) {
    use std::os::linux::net::SocketAddrExt;
    let (world, files) = armed();
    let name = format!("slipway-it-escape-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let listener = std::os::unix::net::UnixListener::bind_addr(&address);
    let script: String = rows
        .iter()
        .enumerate()
        .map(|(number, (_, tried, _))| format!("echo == {number}; ({tried}) 2>&1\n"))
        .collect();
    let script = script.replace("PID", &std::process::id().to_string());
    let mut spec = world.script("escape", &script);
    spec.files = files;
    let (_, lines) = world.run(&spec).await;
    drop(listener);
    let text = format!("\n{}", lines.join("\n"));
    let mut wrong = Vec::new();
    for (number, (what, tried, wanted)) in rows.iter().enumerate() {
        let (_, rest) = text
            .split_once(&format!("\n== {number}"))
            .expect("every row has run");
        let seen = rest.split("\n== ").next().unwrap_or_default();
        let seen: Vec<&str> = seen.split_whitespace().collect();
        let wanted_words: Vec<&str> = wanted.split(' ').collect();
        let fits = seen.len() == wanted_words.len()
            && seen
                .iter()
                .zip(&wanted_words)
                .all(|(seen, wanted)| wanted.split('|').any(|one| one == *seen));
        if !fits {
            wrong.push(format!("{what}: {tried}\n  seen {seen:?}, not {wanted:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.assert_nothing_left().await;
}

#[tokio::test]
async fn the_kernel_is_out_of_reach() {
    try_all(KERNEL).await;
}

#[tokio::test]
async fn namespaces_and_groups_cannot_be_left() {
    try_all(NAMESPACES).await;
}

#[tokio::test]
async fn files_and_devices_of_the_host_are_out_of_reach() {
    try_all(FILES).await;
}

#[tokio::test]
async fn sockets_end_at_the_container() {
    try_all(SOCKETS).await;
}

/// CVE-2019-5736: while commands are run in it, a container looks for processes that are still the platform's and opens
/// what they run for writing; and its own programs are scripts whose interpreter is "whatever runs this".
#[tokio::test]
async fn the_platforms_binary_cannot_be_overwritten() {
    let (world, _) = armed();
    let shim = Path::new(env!("CARGO_BIN_EXE_runtime-shim"));
    let before = fs::read(shim).expect("readable");
    let owner = fs::metadata(shim).expect("there");
    for name in ["evil", "worse"] {
        let path = world.rootfs.join("bin").join(name);
        fs::write(&path, "#!/proc/self/exe\n").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
    }
    world.up(&world.script("host", "echo up; sleep 60")).await;
    let hunter = exec_spec(&["probe", "hunt"], "");
    let mut hunter = soon(world.runtime.exec("host", hunter)).await.expect("started");
    let mut word = [0; 8];
    soon(hunter.output.read_exact(&mut word)).await.expect("readable");
    for number in 0..40 {
        let argv: &[&str] = if number % 2 == 0 { &["evil"] } else { &["true"] };
        // Whether the kernel runs such a script is its own matter.
        drop(world.begin("host", argv, "").await.map(drop));
    }
    let refused = world
        .begin("host", &["/proc/self/exe"], "")
        .await
        .expect_err("refused")
        .to_string();
    assert!(refused.contains("it is a link of /proc"), "{refused}");
    drop(hunter.stdin.take());
    let mut seen = String::new();
    soon(hunter.output.read_to_string(&mut seen))
        .await
        .expect("readable");
    drop(hunter);
    assert!(!seen.contains("writable"), "{seen}");
    assert!(
        fs::read(shim).expect("readable") == before,
        "the platform's binary was changed"
    );
    assert_eq!(
        fs::metadata(shim).expect("there").ctime_nsec(),
        owner.ctime_nsec()
    );
    world.runtime.delete("host").await.expect("deleted");
    world.assert_nothing_left().await;
}

/// CVE-2024-21626: a working directory that is a descriptor of the platform's, of a container or of a command.
#[tokio::test]
async fn no_directory_of_the_host_can_be_the_working_directory() {
    let (world, _) = armed();
    symlink("/proc/self/fd/7", world.rootfs.join("out")).expect("linked");
    world.up(&world.script("host", "echo up; sleep 60")).await;
    for number in 3..16 {
        let mut spec = exec_spec(&["pwd"], "");
        spec.cwd = format!("/proc/self/fd/{number}");
        let tried = soon(world.runtime.exec("host", spec)).await;
        assert!(matches!(tried, Err(Error::Start { .. })), "{number}: {tried:?}");
    }
    let mut spec = world.script("out", "pwd; ls ..");
    spec.cwd = "/out".to_owned();
    world.runtime.create(&spec).await.expect("created");
    let tried = world.runtime.start("out").await;
    assert!(matches!(tried, Err(Error::Start { .. })), "{tried:?}");
    for id in ["host", "out"] {
        world.runtime.delete(id).await.expect("deleted");
    }
    world.assert_nothing_left().await;
}

/// CVE-2025-31133, -52565 and their like: what mount targets and masks are is changed while a container is made. The
/// image is the platform's alone then; this is what if it were not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn symlinks_that_come_and_go_lead_nowhere() {
    let (world, _) = armed();
    let victim = world.dir.path().join("victim");
    fs::create_dir(&victim).expect("made");
    fs::write(victim.join("resolv.conf"), "the host's").expect("written");
    fs::write(world.dir.path().join("own.conf"), "ours").expect("written");
    fs::create_dir(world.rootfs.join("dev")).expect("made");
    let stop = AtomicBool::new(false);
    let (etc, aside, null) = (
        world.rootfs.join("etc"),
        world.rootfs.join("aside"),
        world.rootfs.join("dev/null"),
    );
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // Whichever of these fails in a race, the next round has another chance.
                drop(fs::rename(&etc, &aside));
                drop(symlink(&victim, &etc));
                drop(fs::remove_file(&null));
                drop(symlink("/proc/sysrq-trigger", &null));
                drop(fs::remove_file(&etc));
                drop(fs::rename(&aside, &etc));
                drop(fs::remove_file(&null));
            }
        });
        let work = async {
            for number in 0..25 {
                let mut spec = world.script(
                    &format!("race{number}"),
                    "cat /etc/resolv.conf; cat /proc/timer_list | wc -c",
                );
                spec.files = vec![BindFile {
                    source: world.dir.path().join("own.conf"),
                    destination: "/etc/resolv.conf".to_owned(),
                }];
                if world.runtime.create(&spec).await.is_ok() && world.runtime.start(&spec.id).await.is_ok() {
                    soon(world.runtime.wait(&spec.id)).await.expect("ended");
                    let lines = world.output(&spec.id).await.join("\n");
                    assert!(!lines.contains("the host's"), "{lines}");
                    assert!(lines.ends_with('0'), "a mask is missing: {lines}");
                }
                world.runtime.delete(&spec.id).await.expect("deleted");
            }
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(work));
        stop.store(true, Ordering::Relaxed);
    });
    let names: Vec<_> = fs::read_dir(&victim)
        .expect("listable")
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    assert_eq!(names, ["resolv.conf"]);
    assert_eq!(
        fs::read_to_string(victim.join("resolv.conf")).expect("readable"),
        "the host's"
    );
    world.assert_nothing_left().await;
}

/// Two instances know nothing of each other, by any number the host may leak.
#[tokio::test]
async fn a_neighbour_is_out_of_reach() {
    let (world, _) = armed();
    let other = World::new();
    let mut neighbour = other.script(
        "neighbour",
        "echo secret >/dev/shm/secret; echo up; exec sleep 60",
    );
    neighbour.env = vec!["SECRET=neighbour".to_owned()];
    let init = other.up(&neighbour).await;
    let children = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).expect("readable");
    let app = children.trim().to_owned();
    let deeds = "for p in 'root/dev/shm/secret' environ mem ns/net cwd fd/1; do for n in INIT APP; do \
                 probe open /proc/$n/$p; done; done; probe kill APP; probe trace APP; ls /dev/shm; ls /dev/mqueue; ipcs 2>/dev/null | grep -c 0x";
    let deeds = deeds.replace("INIT", &init.to_string()).replace("APP", &app);
    let (_, lines) = world.run(&world.script("curious", &deeds)).await;
    let (told, rest) = lines.split_at(14);
    assert!(
        told.iter().all(|line| line == "ENOENT" || line == "ESRCH"),
        "{lines:?}"
    );
    assert_eq!(rest, ["0"], "{lines:?}");
    other.runtime.delete("neighbour").await.expect("deleted");
    other.assert_nothing_left().await;
    world.assert_nothing_left().await;
}
