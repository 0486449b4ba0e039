//! Benchmarks: this platform beside its peers, measured in one run.
//!
//! Rules every row keeps: both sides in the same run, in turns (A B A B …), so that a noisy machine is noisy for both;
//! the figure to believe is CPU time, and the ratio within a pair; one JSON line per pair, a table at the end; nothing
//! is asserted about time. What is compared, what each side does not do, and what came out: `docs/numbers.md`.

mod container;
mod http;
mod idle;
mod meter;
mod nginx;
mod pairs;
mod peer;
mod postgres;
mod process;
mod pull;
mod push;
mod router;
mod start;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use tokio::signal::unix::{SignalKind, signal};

use meter::Meter;
use pairs::Series;
pub use pull::inflate;

/// What every row gets.
struct Bench {
    meter: Meter,
    dir: tempfile::TempDir,
    /// Overrides how many pairs a row takes.
    pairs: Option<usize>,
}

impl Bench {
    fn pairs(&self, usual: usize) -> usize {
        self.pairs.unwrap_or(usual)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Row {
    Push,
    Pull,
    Container,
    Router,
    Idle,
    Start,
}

const ROWS: [(&str, Row); 6] = [
    ("push", Row::Push),
    ("pull", Row::Pull),
    ("container", Row::Container),
    ("router", Row::Router),
    ("idle", Row::Idle),
    ("start", Row::Start),
];

/// Runs the named rows, or all; `--pairs N` takes N pairs of each instead of the usual number.
///
/// # Errors
/// When something needed is missing or fails; what was measured until then is printed all the same.
pub fn run(args: &[&str]) -> anyhow::Result<()> {
    let (rows, pairs) = parse(args)?;
    if !testkit::target_dir().ends_with("release") {
        return again_in_release(args);
    }
    let bench = Bench {
        meter: Meter::new()?,
        // Memory: what is measured are the programs, not the disk they share with everybody.
        dir: tempfile::Builder::new().prefix("slb").tempdir_in("/dev/shm")?,
        pairs,
    };
    // Containers' root filesystems lie below it: the mapped root must get through.
    std::fs::set_permissions(
        bench.dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o711),
    )?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut results = Vec::new();
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        // Cancel-safe: every part of a row removes itself when dropped. What blocks (wrk, a container's cycle) lasts
        // seconds, and the signal is seen after it.
        tokio::select! {
            outcome = measure(&bench, &rows, &mut results) => outcome,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
            _ = terminate.recv() => Err(anyhow::anyhow!("told to end")),
        }
    });
    pairs::print_table(&results);
    outcome
}

fn parse(args: &[&str]) -> anyhow::Result<(Vec<Row>, Option<usize>)> {
    let (mut rows, mut pairs) = (Vec::new(), None);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if *arg == "--pairs" {
            let number = args.next().context("--pairs needs a number")?;
            pairs = Some(number.parse().with_context(|| format!("--pairs {number}"))?);
            ensure!(pairs != Some(0), "--pairs must be at least 1");
            continue;
        }
        let Some((_, row)) = ROWS.iter().find(|(name, _)| name == arg) else {
            let names: Vec<_> = ROWS.iter().map(|(name, _)| *name).collect();
            bail!("no row {arg:?}; there are: {}", names.join(", "));
        };
        rows.push(*row);
    }
    if rows.is_empty() {
        rows.extend(ROWS.iter().map(|(_, row)| *row));
    }
    Ok((rows, pairs))
}

/// Builds everything optimised, this program too, and goes on as that. Nobody quotes figures of a debug build.
fn again_in_release(args: &[&str]) -> anyhow::Result<()> {
    let builds: [&[&str]; 4] = [
        // By itself, so that it has exactly the features it ships with.
        &["--package", "slipway"],
        &["--package", "runtime", "--example", "lifecycle"],
        &["--package", "cell", "--example", "pull"],
        &["--package", "xtask"],
    ];
    for build in builds {
        let status = Command::new(env!("CARGO"))
            .args(["build", "--release", "--quiet"])
            .args(build)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .status()
            .context("cannot run cargo")?;
        ensure!(status.success(), "cargo build --release {build:?} failed");
    }
    let debug = testkit::target_dir();
    let target = debug.parent().context("a target directory")?;
    let error = Command::new(target.join("release/xtask"))
        .arg("bench")
        .args(args)
        .exec();
    Err(error).context("cannot run the optimised xtask")
}

async fn measure(bench: &Bench, rows: &[Row], results: &mut Vec<Series>) -> anyhow::Result<()> {
    for row in rows {
        let (name, _) = ROWS
            .iter()
            .find(|(_, known)| known == row)
            .context("a known row")?;
        eprintln!("bench: {name} ...");
        let outcome = match row {
            Row::Push => push::run(bench, results).await,
            Row::Pull => pull::run(bench, results).await,
            Row::Container => container::run(bench, results).await,
            Row::Router => router::run(bench, results).await,
            Row::Idle => idle::run(bench, results).await,
            Row::Start => start::run(bench, results).await,
        };
        outcome.with_context(|| format!("row {name}"))?;
    }
    Ok(())
}
