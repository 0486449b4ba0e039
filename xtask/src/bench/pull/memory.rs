//! The most memory a group of processes held at any one time.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::Context;

/// Between looks. A process that lives shorter may be missed.
const STEP: Duration = Duration::from_millis(5);

/// Watches one group after the other, in a thread that lives as long as this: the time of threads that have ended is
/// not known as this program's own.
pub struct Watcher {
    orders: Sender<Option<PathBuf>>,
    peaks: Receiver<f64>,
}

impl Watcher {
    /// Starts the thread.
    pub fn start() -> Self {
        let (orders, received) = channel();
        let (sender, peaks) = channel();
        std::thread::spawn(move || watch(&received, &sender));
        Self { orders, peaks }
    }

    /// Begins to watch the processes listed in this file, now and later.
    pub fn begin(&self, procs: PathBuf) -> anyhow::Result<()> {
        self.orders.send(Some(procs)).context("the watcher has ended")
    }

    /// The most the processes held together since then, MiB. Each counts with the most it ever held, `VmHWM` of
    /// proc_pid_status(5), so what is said is too much rather than too little.
    pub fn end(&self) -> anyhow::Result<f64> {
        self.orders.send(None).context("the watcher has ended")?;
        self.peaks.recv().context("the watcher has ended")
    }
}

fn watch(orders: &Receiver<Option<PathBuf>>, peaks: &Sender<f64>) {
    let mut group: Option<(PathBuf, f64)> = None;
    loop {
        let order = match &mut group {
            Some((procs, peak)) => {
                *peak = peak.max(held(procs));
                orders.recv_timeout(STEP)
            }
            None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match order {
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
            Ok(Some(procs)) => group = Some((procs, 0.0)),
            Ok(None) => {
                let peak = group.take().map_or(0.0, |(_, peak)| peak);
                if peaks.send(peak).is_err() {
                    return;
                }
            }
        }
    }
}

fn held(procs: &PathBuf) -> f64 {
    let pids = fs::read_to_string(procs).unwrap_or_default();
    let each = pids.lines().filter_map(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    });
    each.sum::<f64>() / 1024.0
}
