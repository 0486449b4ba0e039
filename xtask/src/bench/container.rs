//! Row `container`: one container from nothing to nothing: made, `true` run in it, ended, deleted.
//!
//! Ours is the `lifecycle` example of the crate `runtime`, with the platform's own shim; the peers run the very bundle
//! it writes. Both sides have one line of text in and one out per cycle.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::Value;
use testkit::platform::Platform;

use super::Bench;
use super::meter::{Meter, Place, Who};
use super::pairs::{Series, Side};
use super::peer::{self, Shell};

const PAIRS: usize = 100;
const WARM_UP: usize = 3;
/// What the machine does after a container has gone (freeing namespaces) must not be charged to the next one.
const REST: std::time::Duration = std::time::Duration::from_millis(30);

/// A way of running the peer.
struct Peer {
    shell: Shell,
    series: Series,
    line: String,
}

/// Measures.
pub async fn run(bench: &Bench, results: &mut Vec<Series>) -> anyhow::Result<()> {
    let dir = bench.dir.path().join("container");
    let tag = format!("slb{}", std::process::id());
    let mut ours = Lifecycle::start(&bench.meter, &dir, &tag)?;
    let bundle: Value = serde_json::from_slice(&std::fs::read(dir.join("config.json"))?)?;
    let mut peers = Vec::new();
    for (program, filter) in [
        ("crun", Filter::Kept),
        ("crun", Filter::Removed),
        ("runc", Filter::Kept),
    ] {
        let name = format!("{program}-{}", filter.name());
        let peer = Peer::start(bench, (&dir, &name), (program, filter, &bundle));
        peers.push(peer.with_context(|| format!("peer {name}"))?);
    }
    let (who, beside) = (Who::Ours(tag.clone()), Who::Peer(tag));
    let mut id = 0;
    for round in 0..WARM_UP + bench.pairs(PAIRS) {
        for peer in &mut peers {
            let first = bench.meter.now(&who);
            let phases = ours.cycle()?;
            let spent = bench.meter.since(&who, &first).side();
            tokio::time::sleep(REST).await;
            id += 1;
            let second = bench.meter.now(&beside);
            peer.shell.run(&format!("{} c{id}", peer.line))?;
            let other = bench.meter.since(&beside, &second).side();
            tokio::time::sleep(REST).await;
            if round >= WARM_UP {
                peer.series.add(with_phases(spent, &phases), other);
            }
        }
    }
    results.extend(peers.into_iter().map(|peer| peer.series));
    Ok(())
}

fn with_phases(side: Side, phases: &Value) -> Side {
    let phase = |name: &str| phases[name].as_f64().unwrap_or(f64::NAN) / 1e3;
    side.with("until_code_ms", phase("create_us") + phase("start_us"))
        .with("exit_ms", phase("exit_us"))
        .with("delete_ms", phase("delete_us"))
}

/// What becomes of the bundle's system call filter.
#[derive(Clone, Copy)]
enum Filter {
    Kept,
    /// The peers compile it anew for each container; without it they show what is not that.
    Removed,
}

impl Filter {
    fn name(self) -> &'static str {
        match self {
            Self::Kept => "same bundle",
            Self::Removed => "no seccomp",
        }
    }
}

impl Peer {
    fn start(
        bench: &Bench,
        (dir, name): (&Path, &str),
        (program, filter, bundle): (&str, Filter, &Value),
    ) -> anyhow::Result<Self> {
        let dir = dir.join(name.replace(' ', "-"));
        let shell = Shell::start(&bench.meter, &dir, program)?;
        let rootfs = bundle["root"]["path"].as_str().context("a bundle without root")?;
        let cgroups = bench.meter.apps_path(&name.replace(' ', "-"));
        let mut bundle = peer::bundle(bundle, rootfs, &cgroups)?;
        if let Filter::Removed = filter {
            bundle = peer::without_seccomp(&bundle);
        }
        std::fs::write(dir.join("config.json"), serde_json::to_vec(&bundle)?)?;
        Ok(Self {
            line: format!("cycle {}", dir.display()),
            shell,
            series: Series::new("container", &format!("true, {}", filter.name()), program),
        })
    }
}

/// Our side: a process that holds the runtime and runs a cycle for each line it reads.
struct Lifecycle {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Lifecycle {
    fn start(meter: &Meter, dir: &Path, tag: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let program = testkit::target_dir().join("examples/lifecycle");
        ensure!(
            program.exists(),
            "{} is missing; run: cargo build --release -p runtime --example lifecycle",
            program.display()
        );
        let shim = Platform::binary();
        ensure!(shim.exists(), "{} is missing: it is the shim", shim.display());
        let mut command = meter.command(Place::Ours, &program);
        command.arg(dir).arg(tag).arg(shim).arg("shim");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().context("a pipe")?);
        let mut lifecycle = Self { child, stdin, stdout };
        // The bundle exists once a first cycle was run.
        lifecycle.cycle()?;
        Ok(lifecycle)
    }

    fn cycle(&mut self) -> anyhow::Result<Value> {
        let begun = Instant::now();
        let stdin = self.stdin.as_mut().context("open until the end")?;
        stdin.write_all(b"1\n")?;
        stdin.flush()?;
        let mut answer = String::new();
        self.stdout.read_line(&mut answer)?;
        serde_json::from_str(&answer).with_context(|| {
            format!(
                "lifecycle said {answer:?} after {} ms",
                begun.elapsed().as_millis()
            )
        })
    }
}

impl Drop for Lifecycle {
    fn drop(&mut self) {
        // The end of its input makes it remove what it made.
        self.stdin = None;
        let _ = self.child.wait();
    }
}
