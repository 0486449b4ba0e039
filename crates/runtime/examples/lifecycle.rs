//! Runs containers from nothing to nothing and tells how long each part took, for `cargo xtask bench container`.
//!
//! `lifecycle DIRECTORY CGROUP-ROOT [SHIM-COMMAND…]`: for each line of standard input, a number, runs that many cycles
//! of create, start, wait, delete with `/bin/true` as the program, and prints one line of JSON for each, times in
//! microseconds. Leaves the bundle of the first as `DIRECTORY/config.json` for other runtimes. The end of the input
//! removes everything else.

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, Write};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::Instant;

use model::Limits;
use runtime::{ContainerSpec, IdRange, Runtime, Settings, Signal};

const BUSYBOX: &str = "/bin/busybox";
const FIRST_HOST_ID: u32 = 400_000_000;
/// Runs the whole time, as on a cell that is not empty: else each cycle would also make and remove the groups all
/// containers share.
const NEIGHBOUR: &str = "neighbour";

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut args = std::env::args_os().skip(1);
    let dir = args.next().ok_or("no directory")?;
    if dir == "shim" {
        runtime::shim_main(args);
    }
    let cgroup_root = args
        .next()
        .and_then(|tag| tag.into_string().ok())
        .ok_or("no control group")?;
    let shim: Vec<OsString> = args.collect();
    let own = || vec![OsString::from("/proc/self/exe"), OsString::from("shim")];
    let bench = Bench::open(
        Path::new(&dir),
        cgroup_root,
        if shim.is_empty() { own() } else { shim },
    )?;
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let outcome = tokio.block_on(bench.serve());
    tokio.block_on(bench.clean_up())?;
    outcome
}

struct Bench {
    runtime: Runtime,
    dir: PathBuf,
    rootfs: PathBuf,
}

impl Bench {
    fn open(dir: &Path, cgroup_root: String, shim_command: Vec<OsString>) -> Outcome<Self> {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o711))?;
        let rootfs = dir.join("rootfs");
        make_rootfs(&rootfs)?;
        let runtime = Runtime::open(Settings {
            state_dir: dir.join("state"),
            cgroup_root,
            shim_command,
        })?;
        Ok(Self {
            runtime,
            dir: dir.to_owned(),
            rootfs,
        })
    }

    fn spec(&self, id: &str, argv: &[&str]) -> ContainerSpec {
        ContainerSpec {
            id: id.to_owned(),
            rootfs: self.rootfs.clone(),
            id_range: IdRange {
                first_host_id: FIRST_HOST_ID,
                size: 65_536,
            },
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: Vec::new(),
            cwd: String::new(),
            user: String::new(),
            hostname: String::new(),
            limits: Limits {
                memory_bytes: 64 << 20,
                disk_bytes: 0,
                cpu_shares: 64,
                pids: 256,
                nofile: 1024,
            },
            files: Vec::new(),
            stop_signal: Signal::TERM,
        }
    }

    async fn serve(&self) -> Outcome<()> {
        self.runtime
            .create(&self.spec(NEIGHBOUR, &["/bin/sleep", "86400"]))
            .await?;
        self.runtime.start(NEIGHBOUR).await?;
        let mut number = 0_u64;
        for line in std::io::stdin().lock().lines() {
            for _ in 0..line?.trim().parse::<u32>()? {
                number += 1;
                self.cycle(&format!("c{number}")).await?;
            }
        }
        Ok(())
    }

    async fn cycle(&self, id: &str) -> Outcome<()> {
        let spec = self.spec(id, &["/bin/true"]);
        let begun = Instant::now();
        self.runtime.create(&spec).await?;
        let created = begun.elapsed();
        self.runtime.start(id).await?;
        let started = begun.elapsed();
        let code = self.runtime.wait(id).await?.code();
        let ended = begun.elapsed();
        let bundle = self.dir.join("config.json");
        if !bundle.exists() {
            fs::copy(self.dir.join("state").join(id).join("config.json"), &bundle)?;
        }
        let copied = begun.elapsed();
        self.runtime.delete(id).await?;
        let deleted = begun.elapsed();
        if code != 0 {
            return Err(format!("true ended with {code}").into());
        }
        let line = serde_json::json!({
            "create_us": created.as_micros(),
            "start_us": (started - created).as_micros(),
            "exit_us": (ended - started).as_micros(),
            "delete_us": (deleted - copied).as_micros(),
        });
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")?;
        Ok(out.flush()?)
    }

    async fn clean_up(&self) -> Outcome<()> {
        for id in self.runtime.list()? {
            self.runtime.delete(&id).await?;
        }
        self.runtime.close();
        Ok(())
    }
}

fn make_rootfs(root: &Path) -> Outcome<()> {
    // Mount points too: the other runtimes make theirs once and keep them.
    for dir in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::copy(BUSYBOX, root.join("bin/busybox"))
        .map_err(|error| format!("{BUSYBOX} (busybox-static): {error}"))?;
    for name in ["sh", "true", "sleep"] {
        let link = root.join("bin").join(name);
        if !link.exists() {
            symlink("busybox", link)?;
        }
    }
    give(root)
}

fn give(path: &Path) -> Outcome<()> {
    lchown(path, Some(FIRST_HOST_ID), Some(FIRST_HOST_ID))?;
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path())?;
        }
    }
    Ok(())
}
