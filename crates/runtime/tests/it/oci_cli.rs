//! The built-in runtime's own OCI command line, driven as an engine drives it: bundles of others, one command after the
//! other, no daemon.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::world::{World, until};

/// One bundle and a place for what the command line remembers. Its world gives the root filesystem.
struct Engine {
    world: World,
    dir: PathBuf,
}

/// What an engine writes that uses no user namespace.
fn config(rootfs: &Path, script: &str, cgroup: &str) -> Value {
    let caps = [
        "CAP_CHOWN",
        "CAP_KILL",
        "CAP_SETUID",
        "CAP_SETGID",
        "CAP_NET_BIND_SERVICE",
    ];
    json!({
        "ociVersion": "1.0.2-dev",
        "root": { "path": rootfs, "readonly": true },
        "hostname": "foreign",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0, "additionalGids": [10] },
            "args": ["/bin/sh", "-c", script],
            "env": ["PATH=/bin", "A=b"],
            "cwd": "/",
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 99, "soft": 99 }],
            "noNewPrivileges": true,
            "apparmorProfile": "",
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "mode=1777", "size=64k"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["rprivate", "nosuid", "noexec", "nodev", "relatime", "ro"] },
        ],
        "annotations": { "who": "engine" },
        "linux": {
            "resources": {
                "devices": [{ "allow": false, "access": "rwm" }],
                "memory": { "limit": 64 << 20 }, "pids": { "limit": 50 }, "blockIO": {},
            },
            "cgroupsPath": cgroup,
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
            ],
            "maskedPaths": ["/proc/kcore", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
                "syscalls": [
                    { "names": ["chroot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99 },
                    { "names": ["setpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95,
                      "args": [{ "index": 2, "value": 7, "op": "SCMP_CMP_GE" }] },
                ],
            },
        },
    })
}

impl Engine {
    fn new(script: &str, change: impl FnOnce(&mut Value)) -> Self {
        let world = World::new();
        for dir in ["proc", "sys", "dev", "v"] {
            fs::create_dir_all(world.rootfs.join(dir)).expect("made");
        }
        let dir = world.dir.path().join("engine");
        fs::create_dir(&dir).expect("made");
        let engine = Self { world, dir };
        engine.rewrite(script, change);
        engine
    }

    fn rewrite(&self, script: &str, change: impl FnOnce(&mut Value)) {
        let mut config = config(&self.world.rootfs, script, &format!("/{}/c", self.world.tag));
        change(&mut config);
        fs::write(self.dir.join("config.json"), config.to_string()).expect("written");
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runtime-oci"));
        command
            .arg("--root")
            .arg(self.dir.join("state"))
            .arg("--log")
            .arg(self.dir.join("log"));
        command
            .args(["--log-format", "json"])
            .args(line)
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, line: &[&str]) -> Output {
        self.command(line).output().expect("runs")
    }

    fn succeed(&self, line: &[&str]) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn refuse(&self, line: &[&str]) -> String {
        let output = self.run(line);
        assert!(!output.status.success(), "{line:?}: {output:?}");
        String::from_utf8(output.stderr).expect("UTF-8")
    }

    /// `create` with the container's output in a file; the process stays a child of the test's.
    fn create(&self, id: &str) {
        let out = fs::File::create(self.dir.join("out")).expect("made");
        let pid_file = self.dir.join("pid").display().to_string();
        let mut command = self.command(&["create", "--pid-file", &pid_file, id]);
        command.stdout(out.try_clone().expect("copied")).stderr(out);
        let status = command.status().expect("runs");
        assert!(status.success(), "{}", self.output());
    }

    fn output(&self) -> String {
        fs::read_to_string(self.dir.join("out")).expect("readable")
    }

    fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.succeed(&["state", id])).expect("JSON")
    }

    async fn until_stopped(&self, id: &str) {
        until(
            || self.state(id)["status"] == "stopped",
            || format!("{id} does not stop"),
        )
        .await;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for id in ["c", "d"] {
            self.run(&["delete", "--force", id]);
        }
        self.world.runtime.close();
    }
}

/// What a bundle says, asked from inside.
const EVERYTHING: &str = "hostname; id -u; id -G; echo $A $HOME; ulimit -n; grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; \
                  echo $$; wc -c </proc/timer_list; (echo x >/x) 2>/dev/null || echo read-only; \
                  chroot / true 2>&1 | grep -o 'Cannot assign.*'; renice -n 6 $$ && echo nice; renice -n 8 $$ 2>&1 | grep -c 'not supported'; \
                  cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max; ls /sys/fs/cgroup/memory | grep -c slipway; \
                  (echo >/dev/null) && echo null; ip -o link | wc -l; cat /v/file; (echo x >/v/y) 2>/dev/null || echo bound; exit 7";

/// The answers to [`EVERYTHING`].
const SEEN: &[&str] = &[
    "foreign",
    "0",
    "0 10",
    "b /root",
    "99",
    "CapEff:\t00000000000004e1",
    "CapBnd:\t00000000000004e1",
    "NoNewPrivs:\t1",
    "Seccomp:\t2",
    "1",
    "0",
    "read-only",
    "Cannot assign requested address",
    "1",
    "67108864",
    "50",
    "0",
    "null",
    "1",
    "shown",
    "bound",
];

#[tokio::test]
async fn a_foreign_bundle_runs_as_it_says() {
    let script = EVERYTHING;
    let engine = Engine::new(script, |_| {});
    fs::write(engine.dir.join("file"), "shown\n").expect("written");
    let source = engine.dir.clone();
    engine.rewrite(script, |config| {
        let bind = json!({ "destination": "/v", "type": "bind", "source": source, "options": ["rbind", "rprivate", "ro"] });
        config["mounts"].as_array_mut().expect("a list").push(bind);
    });
    engine.create("c");
    let state = engine.state("c");
    assert_eq!(
        (&state["status"], &state["id"], &state["annotations"]["who"]),
        (&json!("created"), &json!("c"), &json!("engine"))
    );
    let pid = fs::read_to_string(engine.dir.join("pid")).expect("written");
    assert_eq!(state["pid"].to_string(), pid);
    // The container's root is the host's: what it runs from must not be writable, not even for that (CVE-2019-5736).
    let binary = fs::File::open(format!("/proc/{pid}/exe")).expect("readable for the host's root");
    let flags = rustix::fs::fstatvfs(&binary).expect("known").f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY), "{flags:?}");
    drop(binary);
    assert_eq!(engine.output(), "", "nothing of the image has run");
    assert!(engine.refuse(&["create", "c"]).contains("exists already"));
    engine.succeed(&["start", "c"]);
    engine.until_stopped("c").await;
    let output = engine.output();
    let lines: Vec<&str> = output
        .lines()
        .filter(|line| *line != "nice" && !line.starts_with("renice"))
        .collect();
    assert_eq!(lines, SEEN);
    assert!(engine.refuse(&["start", "c"]).contains("is stopped"));
    engine.succeed(&["delete", "c"]);
    assert!(engine.refuse(&["state", "c"]).contains("does not exist"));
    let log = fs::read_to_string(engine.dir.join("log")).expect("written");
    let last: Value = serde_json::from_str(log.lines().last().expect("a line")).expect("JSON");
    assert_eq!(
        (&last["level"], &last["msg"]),
        (&json!("error"), &json!("container c does not exist"))
    );
    assert!(engine.world.cgroups().iter().all(|path| {
        fs::read_dir(path)
            .is_ok_and(|entries| entries.filter_map(Result::ok).all(|entry| !entry.path().is_dir()))
    }));
}

#[tokio::test]
async fn signals_exec_and_ps_reach_the_container() {
    let engine = Engine::new(
        "trap 'echo caught' USR1; echo up; while :; do sleep 0.05; done",
        |_| {},
    );
    engine.create("c");
    assert!(engine.refuse(&["exec", "c", "true"]).contains("is not running"));
    engine.succeed(&["start", "c"]);
    until(|| engine.output().contains("up"), || "it does not run".to_owned()).await;
    let ran = engine.run(&["exec", "-e", "X=y", "--cwd", "/tmp", "--user", "7:8", "c", "sh", "-c", "echo $X; pwd; id -u; id -g; \
                            grep -E 'Seccomp:|NoNewPrivs' /proc/self/status; readlink /proc/self/ns/net; exit 3"]);
    let text = String::from_utf8(ran.stdout).expect("UTF-8");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..6],
        ["y", "/tmp", "7", "8", "NoNewPrivs:\t1", "Seccomp:\t2"]
    );
    let host = fs::read_link("/proc/self/ns/net").expect("readable");
    assert_ne!(Some(lines[6]), host.to_str());
    assert_eq!(ran.status.code(), Some(3));
    assert!(
        engine
            .refuse(&["exec", "c", "nonsense"])
            .contains("cannot run nonsense")
    );

    exec_detached(&engine);
    engine.succeed(&["kill", "c", "SIGUSR1"]);
    until(
        || engine.output().contains("caught"),
        || "no signal came".to_owned(),
    )
    .await;
    assert!(engine.refuse(&["delete", "c"]).contains("is running"));
    assert!(
        engine
            .refuse(&["kill", "c", "SIGNONSENSE"])
            .contains("is no signal")
    );
    engine.succeed(&["kill", "--all", "c", "9"]);
    engine.until_stopped("c").await;
    engine.succeed(&["delete", "c"]);
}

/// A process of its own in a file, which goes on without its maker.
fn exec_detached(engine: &Engine) {
    let process = json!({ "args": ["/bin/sleep", "60"], "cwd": "/", "user": { "uid": 1, "gid": 1 }, "env": ["PATH=/bin"] });
    let (file, pid_file) = (engine.dir.join("process.json"), engine.dir.join("exec.pid"));
    fs::write(&file, process.to_string()).expect("written");
    let (file, pid_path) = (file.display().to_string(), pid_file.display().to_string());
    let line = [
        "exec",
        "--detach",
        "--process",
        &file,
        "--pid-file",
        &pid_path,
        "c",
    ];
    // It keeps the standard descriptors it is given.
    let status = engine
        .command(&line)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.expect("runs").success());
    let pid: i64 = fs::read_to_string(&pid_file)
        .expect("written")
        .parse()
        .expect("a number");
    let all: Vec<i64> =
        serde_json::from_str(&engine.succeed(&["ps", "--format", "json", "c"])).expect("JSON");
    assert!(all.contains(&pid) && all.len() >= 2, "{all:?}");
}

#[tokio::test]
async fn a_console_socket_gets_the_terminal() {
    let engine = Engine::new(
        "tty; stty size; test -c /dev/console && echo console; read line; echo got $line",
        |config| {
            config["process"]["terminal"] = json!(true);
            config["process"]["consoleSize"] = json!({ "height": 11, "width": 22 });
            config["process"]["user"] = json!({ "uid": 5, "gid": 5 });
        },
    );
    assert!(engine.refuse(&["create", "c"]).contains("--console-socket"));
    let path = engine.dir.join("console");
    let listener = UnixListener::bind(&path).expect("bound");
    engine.succeed(&["create", "--console-socket", &path.display().to_string(), "c"]);
    let (stream, _) = listener.accept().expect("connected");
    let mut master = fs::File::from(receive(&stream.into()));
    engine.succeed(&["start", "c"]);
    master.write_all(b"words\n").expect("written");
    let (mut seen, mut chunk) = (String::new(), [0; 512]);
    // The end of a terminal is an error.
    while let Ok(count @ 1..) = master.read(&mut chunk) {
        seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
    }
    for wanted in ["/dev/pts/0", "11 22", "console", "got words"] {
        assert!(seen.contains(wanted), "{wanted} in {seen:?}");
    }
    engine.until_stopped("c").await;
}

fn receive(stream: &OwnedFd) -> OwnedFd {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let (mut name, mut space) = (
        [0; 64],
        [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))],
    );
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(
        stream,
        &mut [std::io::IoSliceMut::new(&mut name)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .expect("received");
    let mut fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    fds.next().and_then(|mut fds| fds.next()).expect("a terminal")
}

#[tokio::test]
async fn hooks_run_and_their_failure_counts_where_it_must() {
    let engine = Engine::new("echo up; exec sleep 60", |_| {});
    let hook = engine.dir.join("hook");
    fs::write(
        &hook,
        format!("#!/bin/sh\ncat >{}/$1\ntest $1 != fail\n", engine.dir.display()),
    )
    .expect("written");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("set");
    let set = |config: &mut Value, moment: &str, word: &str| {
        config["hooks"][moment] =
            json!([{ "path": hook, "args": ["hook", word], "env": ["PATH=/bin:/usr/bin"] }]);
    };
    engine.rewrite("echo up; exec sleep 60", |config| {
        for moment in ["prestart", "createRuntime", "poststart", "poststop"] {
            set(config, moment, moment);
        }
    });
    engine.create("c");
    engine.succeed(&["start", "c"]);
    engine.succeed(&["delete", "--force", "c"]);
    for (moment, status) in [
        ("prestart", "creating"),
        ("createRuntime", "creating"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ] {
        let state: Value =
            serde_json::from_slice(&fs::read(engine.dir.join(moment)).expect(moment)).expect("JSON");
        assert_eq!(
            (&state["status"], &state["id"]),
            (&json!(status), &json!("c")),
            "{moment}"
        );
    }
    engine.rewrite("true", |config| set(config, "prestart", "fail"));
    assert!(engine.refuse(&["create", "d"]).contains("prestart hook"));
    assert!(engine.refuse(&["state", "d"]).contains("does not exist"));
}

#[tokio::test]
async fn namespaces_are_joined_by_path_and_ids_are_mapped() {
    let world_net = Engine::new("echo up; exec sleep 60", |_| {});
    world_net.create("c");
    let pid = world_net.state("c")["pid"].to_string();
    let net = fs::read_link(format!("/proc/{pid}/ns/net")).expect("readable");
    let engine = Engine::new(
        "readlink /proc/self/ns/net; cat /proc/self/uid_map; stat -c %u /proc/1/status",
        |_| {},
    );
    let path = format!("/proc/{pid}/ns/net");
    let first = engine.world.range.first_host_id;
    engine.rewrite("readlink /proc/self/ns/net", |config| {
        config["linux"]["namespaces"][1] = json!({ "type": "network", "path": path });
    });
    assert_eq!(engine.succeed(&["run", "c"]).trim(), net.to_str().expect("UTF-8"));
    engine.rewrite("cat /proc/self/uid_map; id -u", |config| {
        let map = json!([{ "containerID": 0, "hostID": first, "size": 65536 }]);
        config["linux"]["namespaces"]
            .as_array_mut()
            .expect("a list")
            .extend([json!({ "type": "user" }), json!({ "type": "cgroup" })]);
        (config["linux"]["uidMappings"], config["linux"]["gidMappings"]) = (map.clone(), map);
    });
    let words = engine.succeed(&["run", "c"]);
    let words: Vec<&str> = words.split_whitespace().collect();
    assert_eq!(words, ["0", &first.to_string(), "65536", "0"]);
}

#[tokio::test]
async fn what_cannot_be_run_leaves_nothing() {
    let engine = Engine::new("true", |config| config["process"]["args"] = json!(["nonsense"]));
    assert!(engine.refuse(&["run", "c"]).contains("cannot run nonsense"));
    assert!(engine.refuse(&["state", "c"]).contains("does not exist"));
    engine.rewrite("true", |config| {
        config["process"]["apparmorProfile"] = json!("docker-default")
    });
    assert!(
        engine
            .refuse(&["create", "c"])
            .contains("process.apparmorProfile")
    );
    assert!(
        engine
            .refuse(&["checkpoint", "c"])
            .contains("checkpoint is not supported")
    );
    assert!(
        engine
            .refuse(&["--systemd-cgroup", "create", "c"])
            .contains("--systemd-cgroup")
    );
    let features: Value = serde_json::from_str(&engine.succeed(&["features"])).expect("JSON");
    assert_eq!(features["linux"]["seccomp"]["enabled"], json!(true));
    let left: Vec<String> = engine.world.cgroups();
    let children = left
        .iter()
        .filter(|path| Path::new(path).join("c").exists())
        .count();
    assert_eq!(children, 0, "{left:?}");
}
