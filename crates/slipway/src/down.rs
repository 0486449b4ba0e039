//! `slipway down`: ends a platform and removes everything it made. Needs no memory of what was made: kernel objects
//! are named after the data directory.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::cli::DownArgs;
use crate::data_dir::{DataDir, Holder, holder, tag};
use crate::ground::CELL_ID;
use crate::up::demand_root;

/// How long apps may take to end by themselves.
const GRACE: Duration = Duration::from_secs(12);
/// How long a running platform may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Stops the platform of a data directory and cleans up after it. Nothing to do is a success.
pub fn run(args: &DownArgs) -> anyhow::Result<()> {
    demand_root()?;
    base::init_tracing(base::LogFormat::Text, "warn");
    let shown = args.data_dir.display();
    if !args.data_dir.exists() {
        println!("Nothing to remove: {shown} does not exist.");
        return Ok(());
    }
    if !args.data_dir.join("lock").exists() {
        bail!("{shown} is not a data directory of Slipway: it has no lock file; nothing was removed");
    }
    if let Holder::Process(pid) = holder(&args.data_dir)? {
        println!("Stopping the platform (process {pid})...");
        end(pid)?;
    }
    let data = DataDir::hold(&args.data_dir)?;
    println!("Stopping apps and removing networks and mounts...");
    remove_apps(&data)?;
    let path = data.release();
    if args.keep_data {
        println!("Done. The data is kept in {}.", path.display());
        return Ok(());
    }
    fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    println!("Done. Removed {}.", path.display());
    Ok(())
}

/// Opens the cell once more, as a start would, and has it remove everything it made.
fn remove_apps(data: &DataDir) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let tag = tag(data.path());
    let tasks = base::Tasks::new();
    runtime.block_on(async {
        let settings = cell::Settings {
            cell_id: CELL_ID.to_owned(),
            data_dir: data.join("cell"),
            container_cidr: cell::container_network(&tag, None)?,
            tag,
            capacity: cell::Capacity::default(),
            disk_quota: cell::DiskQuota::Auto,
            collection: cell::Collection::default(),
            image: image::Settings::default(),
            trusted_certificates: Vec::new(),
            oci_runtime: None,
            shim_command: vec!["/proc/self/exe".into(), "shim".into()],
            unpack_command: vec!["/proc/self/exe".into(), "unpack".into()],
            clock: std::sync::Arc::new(base::SystemClock),
        };
        // Nobody serves this socket any more: the last lines of apps have nowhere to go.
        let logs = wire::LogSink::start(&tasks, wire::connect(&data.join("run/logs.sock")));
        let cell = cell::Cell::open(settings, tasks.clone(), logs)
            .await
            .context("cannot see what is to be removed")?;
        cell.destroy(GRACE).await.context("cannot remove everything")?;
        tasks.shutdown(Duration::from_millis(100)).await;
        Ok(())
    })
}

fn end(pid: i32) -> anyhow::Result<()> {
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    let pid = Pid::from_raw(pid).context("the lock file names no process")?;
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        return Ok(());
    };
    pidfd_send_signal(&process, Signal::TERM).context("cannot stop the platform")?;
    let deadline = Instant::now() + PATIENCE;
    let mut poll = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
    let timeout = rustix::time::Timespec {
        tv_sec: PATIENCE.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    let ended = rustix::event::poll(&mut poll, Some(&timeout))?;
    if ended == 0 || Instant::now() > deadline {
        bail!(
            "the platform (process {pid}) did not end within {} s; kill it, then run this again",
            PATIENCE.as_secs()
        );
    }
    Ok(())
}
