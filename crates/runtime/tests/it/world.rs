//! One test's own runtime: state directory, control groups, id range and root filesystem, and the proof that nothing
//! of it is left.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use model::Limits;
use runtime::{
    ContainerSpec, ExecHandle, ExecSpec, Exit, IdRange, LogEvent, OciRuntime, Runtime, Settings, Signal,
    WindowSize,
};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

pub const BUSYBOX: &str = "/bin/busybox";
const IDS: u32 = 65_536;
const PATIENCE: Duration = Duration::from_secs(30);

pub struct World {
    pub runtime: Runtime,
    pub tag: String,
    pub rootfs: PathBuf,
    pub range: IdRange,
    pub dir: TempDir,
    pub oci: OciRuntime,
}

/// Every container ever made by a test ends with it, also when the test fails.
impl Drop for World {
    fn drop(&mut self) {
        let runtime = self.runtime.clone();
        let clean = move || {
            let tokio = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            tokio.block_on(async {
                for id in runtime.list().expect("listable") {
                    runtime.delete(&id).await.expect("deleted");
                }
            });
        };
        drop(std::thread::spawn(clean).join());
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(OciRuntime::BuiltIn)
    }

    /// A world whose containers another runtime makes; `None`, with a loud word, when it is not installed.
    pub fn of(program: &str) -> Option<Self> {
        let places = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
        let found = places
            .map(|dir| Path::new(dir).join(program))
            .into_iter()
            .find(|path| path.exists());
        if found.is_none() {
            eprintln!("NOT TESTED: {program} is not installed; run .ci/install-test-tools");
        }
        found.map(|path| Self::with(OciRuntime::External(path)))
    }

    pub fn with(oci: OciRuntime) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let dir = tempfile::tempdir().expect("temp dir");
        let tag = format!("slipway-it-{pid}-{number}");
        let range = IdRange {
            first_host_id: 300_000_000 + (pid % 500) * 64 * IDS + (number % 64) * IDS,
            size: IDS,
        };
        let rootfs = dir.path().join("rootfs");
        make_rootfs(&rootfs);
        give(&rootfs, range.first_host_id);
        let runtime = open(dir.path(), &tag).using(oci.clone()).expect("usable");
        Self {
            oci,
            runtime,
            tag,
            rootfs,
            range,
            dir,
        }
    }

    pub fn is_built_in(&self) -> bool {
        self.oci == OciRuntime::BuiltIn
    }

    pub fn is_made_by(&self, program: &str) -> bool {
        matches!(&self.oci, OciRuntime::External(path) if path.ends_with(program))
    }

    /// Another daemon over the same containers.
    pub fn reopened(&self) -> Runtime {
        open(self.dir.path(), &self.tag)
            .using(self.oci.clone())
            .expect("usable")
    }

    pub fn instance_dir(&self, id: &str) -> PathBuf {
        self.dir.path().join("state").join(id)
    }

    pub fn spec(&self, id: &str, argv: &[&str]) -> ContainerSpec {
        ContainerSpec {
            id: id.to_owned(),
            rootfs: self.rootfs.clone(),
            id_range: self.range,
            argv: argv.iter().map(|&text| text.to_owned()).collect(),
            env: Vec::new(),
            cwd: String::new(),
            user: String::new(),
            hostname: String::new(),
            limits: Limits {
                memory_bytes: 128 << 20,
                disk_bytes: 0,
                cpu_shares: 122,
                pids: 256,
                nofile: 1024,
            },
            files: Vec::new(),
            stop_signal: Signal::TERM,
        }
    }

    /// A shell script as the program.
    pub fn script(&self, id: &str, script: &str) -> ContainerSpec {
        self.spec(id, &["/bin/sh", "-c", script])
    }

    /// Runs to the end; returns how it ended and its output, both streams together. Deletes it.
    pub async fn run(&self, spec: &ContainerSpec) -> (Exit, Vec<String>) {
        self.runtime.create(spec).await.expect("created");
        self.runtime.start(&spec.id).await.expect("started");
        let exit = soon(self.runtime.wait(&spec.id)).await.expect("ended");
        let lines = self.output(&spec.id).await;
        self.runtime.delete(&spec.id).await.expect("deleted");
        (exit, lines)
    }

    /// What a script prints, run as root.
    pub async fn sh(&self, script: &str) -> Vec<String> {
        let (exit, lines) = self.run(&self.script("sh", script)).await;
        assert_eq!(exit.code(), 0, "{lines:?}");
        lines
    }

    /// Starts one more program.
    pub async fn begin(&self, id: &str, argv: &[&str], user: &str) -> Result<ExecHandle, runtime::Error> {
        soon(self.runtime.exec(id, exec_spec(argv, user))).await
    }

    /// Runs one more program to its end.
    pub async fn exec(&self, id: &str, argv: &[&str], user: &str) -> Ran {
        let mut handle = self.begin(id, argv, user).await.expect("started");
        let mut stdin = handle.stdin.take().expect("a pipe");
        // A program need not read its input.
        drop(stdin.write_all(b"typed\n").await);
        drop(stdin);
        let code = soon(handle.wait()).await.expect("ended");
        let out = read_all(&mut handle.output).await;
        let err = read_all(handle.errors.as_mut().expect("a pipe")).await;
        Ran { code, out, err }
    }

    /// Waits until a container runs and has said "up".
    pub async fn up(&self, spec: &ContainerSpec) -> i32 {
        let pid = self.runtime.create(spec).await.expect("created");
        self.runtime.start(&spec.id).await.expect("started");
        self.until_output(&spec.id, "up").await;
        pid
    }

    /// All output of a container that has ended.
    pub async fn output(&self, id: &str) -> Vec<String> {
        let mut reader = self.runtime.logs(id, 0).await.expect("readable");
        let mut lines = Vec::new();
        while let Some(event) = soon(reader.next()).await.expect("readable") {
            match event {
                LogEvent::Line(line) => lines.push(String::from_utf8_lossy(&line.text).into_owned()),
                LogEvent::Lost(count) => panic!("{count} lines lost"),
            }
        }
        lines
    }

    /// Waits until the output holds `wanted`, then returns; the container goes on.
    pub async fn until_output(&self, id: &str, wanted: &str) {
        let mut reader = self.runtime.logs(id, 0).await.expect("readable");
        loop {
            match soon(reader.next()).await.expect("readable") {
                Some(LogEvent::Line(line)) if line.text == wanted.as_bytes() => return,
                Some(_) => {}
                None => panic!("{id} ended without printing {wanted:?}"),
            }
        }
    }

    /// Fails unless no process, control group, mount or file of this world is left.
    pub async fn assert_nothing_left(&self) {
        let left = || {
            self.runtime.close();
            let mut left = processes_of(self.range);
            left.extend(self.shims());
            left.extend(zombies());
            left.extend(self.cgroups());
            left.extend(self.runtime.list().expect("listable"));
            let mounts = fs::read_to_string("/proc/self/mountinfo").expect("readable");
            let own = self.dir.path().to_str().expect("UTF-8");
            left.extend(
                mounts
                    .lines()
                    .filter(|line| line.contains(own))
                    .map(str::to_owned),
            );
            left
        };
        until(|| left().is_empty(), || format!("left over: {:?}", left())).await;
    }

    /// Pids of this world's shims.
    pub fn shims(&self) -> Vec<String> {
        let own = self.dir.path().to_str().expect("UTF-8");
        processes(|pid| {
            let cmdline = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            cmdline.contains("runtime-shim") && cmdline.contains(own)
        })
    }

    /// Control groups of this world in any hierarchy.
    pub fn cgroups(&self) -> Vec<String> {
        let hierarchies = fs::read_dir("/sys/fs/cgroup")
            .expect("listable")
            .map(|entry| entry.expect("entry").path());
        let paths = hierarchies
            .chain([PathBuf::from("/sys/fs/cgroup")])
            .map(|dir| dir.join(&self.tag));
        paths
            .filter(|path| path.exists())
            .map(|path| path.display().to_string())
            .collect()
    }
}

/// What a program run by [`World::exec`] came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub fn exec_spec(argv: &[&str], user: &str) -> ExecSpec {
    ExecSpec {
        argv: argv.iter().map(|&text| text.to_owned()).collect(),
        env: vec!["EXTRA=1".to_owned()],
        cwd: String::new(),
        user: user.to_owned(),
        terminal: None,
    }
}

pub const SMALL: WindowSize = WindowSize {
    rows: 24,
    columns: 80,
};

pub async fn read_all(from: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = String::new();
    soon(from.read_to_string(&mut text)).await.expect("readable");
    text
}

fn open(dir: &Path, tag: &str) -> Runtime {
    Runtime::open(Settings {
        state_dir: dir.join("state"),
        cgroup_root: tag.to_owned(),
        shim_command: vec![env!("CARGO_BIN_EXE_runtime-shim").into()],
    })
    .expect("opened")
}

/// Fails when `future` takes longer than anything here may.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// Waits for a condition of the kernel that nothing announces.
pub async fn until(mut holds: impl FnMut() -> bool, explain: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{}", explain());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn processes(wanted: impl Fn(u32) -> bool) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("listable").filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| wanted(*pid))
        .map(|pid| format!("process {pid}"))
        .collect()
}

/// Dead shims nobody has waited for. Those of other tests are gone in a moment.
fn zombies() -> Vec<String> {
    let zombie = format!("(runtime-shim) Z {} ", std::process::id());
    processes(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(&zombie)))
}

/// Processes whose user is in `range`.
pub fn processes_of(range: IdRange) -> Vec<String> {
    processes(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        let uid = line.and_then(|line| line.split_whitespace().next()?.parse::<u32>().ok());
        uid.is_some_and(|uid| uid >= range.first_host_id && uid - range.first_host_id < range.size)
    })
}

fn make_rootfs(root: &Path) {
    for dir in ["bin", "etc", "root", "tmp", "home/app", "var"] {
        fs::create_dir_all(root.join(dir)).expect("made");
    }
    fs::copy(BUSYBOX, root.join("bin/busybox")).expect("busybox-static is installed");
    // Drops its rights itself except for the applets that need them.
    fs::copy(BUSYBOX, root.join("bin/busybox-setuid")).expect("copied");
    for applet in applets() {
        if applet != "busybox" {
            symlink("busybox", root.join("bin").join(applet)).expect("linked");
        }
    }
    let passwd = "root::0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n";
    fs::write(root.join("etc/passwd"), passwd).expect("written");
    fs::write(root.join("etc/group"), "root:x:0:\napp:x:1001:\naudio:x:29:app\n").expect("written");
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("set");
}

fn applets() -> &'static [String] {
    static APPLETS: OnceLock<Vec<String>> = OnceLock::new();
    APPLETS.get_or_init(|| {
        let list = Command::new(BUSYBOX)
            .arg("--list")
            .output()
            .expect("busybox runs");
        String::from_utf8(list.stdout)
            .expect("UTF-8")
            .lines()
            .map(str::to_owned)
            .collect()
    })
}

/// Gives a tree to one user and group, as an id-shifted image would be.
fn give(path: &Path, id: u32) {
    std::os::unix::fs::lchown(path, Some(id), Some(id)).expect("given");
    if path.file_name().is_some_and(|name| name == "busybox-setuid") {
        fs::set_permissions(path, fs::Permissions::from_mode(0o4755)).expect("set");
    }
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).expect("listable") {
            give(&entry.expect("entry").path(), id);
        }
    }
}
