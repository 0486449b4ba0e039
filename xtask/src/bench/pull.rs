//! Row `pull`: an image from a registry on this machine to a disk, ready to be mounted.
//!
//! Ours is the `pull` example of the crate `cell`, a process that starts, fetches, unpacks and ends; the peers are
//! containerd, already running, with its client, and podman. Each pull has a new file system. Below them two floors:
//! the layers inflated into nothing, and unpacked by tools that verify and remember nothing.

mod containerd;
mod floor;
mod fresh_fs;
mod made_files;
mod made_image;
mod memory;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;
use testkit::docker_registry::{DockerRegistry, Guard};
use testkit::platform::Platform;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdout};

use super::Bench;
use super::meter::{Meter, Place, Reading, Spent, Who, millis};
use super::pairs::{Series, Side};
use super::process;
use containerd::Containerd;
pub use floor::inflate;
use fresh_fs::FreshFs;
use made_image::{Made, ONE, Recipe, SIX};
use memory::Watcher;

const PAIRS: usize = 5;
/// What a removed file system leaves to do must not be charged to the next side.
const REST: Duration = Duration::from_millis(300);

/// Whom we are compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Peer {
    Containerd,
    Podman,
    /// Our decoder alone.
    Inflate,
    /// A quick decoder and tar, a process each.
    GunzipTar,
}

/// What is aimed at, as ratios to the peer; printed with what came out, never asserted.
const GOALS: [(Peer, f64); 3] = [(Peer::Containerd, 0.7), (Peer::Podman, 0.7), (Peer::Inflate, 1.3)];
/// The same for our memory, MiB.
const MEMORY_GOAL: f64 = 64.0;

impl Peer {
    const ALL: [Self; 4] = [Self::Containerd, Self::Podman, Self::Inflate, Self::GunzipTar];

    fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Podman => "podman",
            Self::Inflate => "inflate",
            Self::GunzipTar => "libdeflate|tar",
        }
    }
}

/// Measures.
pub async fn run(bench: &Bench, results: &mut Vec<Series>) -> anyhow::Result<()> {
    for program in [
        "containerd",
        "ctr",
        "podman",
        "libdeflate-gunzip",
        "mkfs.ext4",
        "xargs",
    ] {
        let found = Command::new("which").arg(program).output()?.status.success();
        ensure!(
            found,
            "{program} is missing; run: apt-get install --no-install-recommends containerd podman libdeflate-tools"
        );
    }
    let registry = DockerRegistry::start(&Guard::Open).await?;
    for process in process::descendants_named("docker-registry") {
        // It serves all sides alike.
        bench.meter.put(process.pid, Place::Aside)?;
    }
    let watcher = Watcher::start();
    for recipe in [&ONE, &SIX] {
        let image = recipe.make()?;
        push(&registry, recipe.name, &image).await?;
        let stage = Stage {
            bench,
            image,
            reference: format!("{}/{}:1", registry.host(), recipe.name),
            watcher: &watcher,
        };
        stage.run(recipe, results).await?;
    }
    Ok(())
}

async fn push(registry: &DockerRegistry, name: &str, image: &Made) -> anyhow::Result<()> {
    let (config, blobs) = (image.config(), image.blobs()?);
    let pusher = registry.pusher()?;
    pusher.image(name, Some("1"), &config, &blobs).await?;
    Ok(())
}

/// One image, and where it is pulled to.
struct Stage<'a> {
    bench: &'a Bench,
    image: Made,
    reference: String,
    watcher: &'a Watcher,
}

/// A side on its way.
struct Begun {
    who: Who,
    reading: Reading,
    at: Instant,
}

impl Stage<'_> {
    async fn run(&self, recipe: &Recipe, results: &mut Vec<Series>) -> anyhow::Result<()> {
        let (entries, layers) = recipe.shape();
        let megabytes = self.image.unpacked() / 1_000_000;
        let case = format!("{layers} layers, {megabytes} MB, {entries} entries");
        let mut all = Peer::ALL.map(|peer| (peer, Series::new("pull", &case, peer.name())));
        // Warms what all share: the registry, and its files in memory.
        self.ours().await?;
        let wanted = self.bench.pairs(PAIRS);
        while all.iter().any(|(_, series)| series.wants(wanted)) {
            for (peer, series) in all.iter_mut().filter(|(_, series)| series.wants(wanted)) {
                let ours = self.ours().await?;
                tokio::time::sleep(REST).await;
                let theirs = self.theirs(*peer).await?;
                tokio::time::sleep(REST).await;
                series.add(ours, theirs);
            }
        }
        for (peer, series) in all {
            tell(&case, peer, &series);
            results.push(series);
        }
        Ok(())
    }

    fn begin(&self, who: Who, place: Place) -> anyhow::Result<Begun> {
        self.watcher.begin(self.bench.meter.procs(place))?;
        Ok(Begun {
            reading: self.bench.meter.now(&who),
            who,
            at: Instant::now(),
        })
    }

    fn spent(&self, begun: &Begun) -> Spent {
        self.bench.meter.since(&begun.who, &begun.reading)
    }

    async fn ours(&self) -> anyhow::Result<Side> {
        let fs = FreshFs::make(self.bench.dir.path())?;
        let program = testkit::target_dir().join("examples/pull");
        let mut command = self.bench.meter.command(Place::Ours, &program);
        command.arg(fs.path().join("store")).arg(&self.reference);
        command.arg(Platform::binary()).arg("unpack");
        let begun = self.begin(Who::Ours(Who::NO_TAG.to_owned()), Place::Ours)?;
        let mut pull = Pull::start(command)?;
        pull.hear("ready").await?;
        let spent = self.spent(&begun);
        pull.go_on("settled").await?;
        let durable = begun.at.elapsed();
        let peak = self.watcher.end()?;
        Ok(side(&spent, durable).with("peak_mib", peak))
    }

    async fn theirs(&self, peer: Peer) -> anyhow::Result<Side> {
        let fs = FreshFs::make(self.bench.dir.path())?;
        let meter = &self.bench.meter;
        let mut server = None;
        let command = match peer {
            Peer::Containerd => {
                let containerd = Containerd::start(meter, &fs.path().join("containerd")).await?;
                let command = containerd.pull(meter, &self.reference);
                server = Some(containerd);
                command
            }
            Peer::Podman => podman(meter, fs.path(), &self.reference)?,
            Peer::Inflate => {
                let mut command = meter.command(Place::Peer, &std::env::current_exe()?);
                command.arg("inflate").args(self.paths());
                command
            }
            Peer::GunzipTar => gunzip_tar(meter, fs.path(), self.paths()),
        };
        let begun = self.begin(Who::Peer(Who::NO_TAG.to_owned()), Place::Peer)?;
        finish(command, peer).await?;
        let spent = self.spent(&begun);
        fs.sync()?;
        let durable = begun.at.elapsed();
        let peak = self.watcher.end()?;
        drop(server);
        Ok(match peer {
            Peer::Inflate => spent.side(),
            _ => side(&spent, durable).with("peak_mib", peak),
        })
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.image.layers.iter().map(|layer| layer.path.as_path())
    }
}

/// `durable_ms` includes writing everything to the disk, on both sides.
fn side(spent: &Spent, durable: Duration) -> Side {
    spent.side().with("durable_ms", millis(durable))
}

fn tell(case: &str, peer: Peer, series: &Series) {
    let verdict = |figure: &str, value: f64, goal: f64| {
        let holds = value <= goal;
        println!(
            "{}",
            json!({"row": "pull", "case": case, "peer": peer.name(), "figure": figure,
                "median": (value * 1000.0).round() / 1000.0, "goal": goal, "holds": holds})
        );
    };
    if let Some((_, goal)) = GOALS.iter().find(|(known, _)| *known == peer) {
        verdict("wall_ms ratio", series.median_ratio("wall_ms"), *goal);
    }
    verdict("peak_mib", series.median("peak_mib"), MEMORY_GOAL);
}

/// Runs a peer's command to its end.
async fn finish(mut command: Command, peer: Peer) -> anyhow::Result<()> {
    command.stdin(Stdio::null());
    let output = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output()
        .await;
    let output = output.with_context(|| format!("cannot run {}", peer.name()))?;
    ensure!(
        output.status.success(),
        "{} failed: {}",
        peer.name(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Podman with everything it keeps below `dir`, in a mount namespace that hides what it shares between its stores.
fn podman(meter: &Meter, dir: &Path, reference: &str) -> anyhow::Result<Command> {
    for name in ["root", "run", "tmp", "libpod", "shared"] {
        std::fs::create_dir_all(dir.join(name))?;
    }
    // Its locks would stay in the machine's shared memory.
    let config = dir.join("containers.conf");
    std::fs::write(&config, "[engine]\nlock_type = \"file\"\n")?;
    let script = r#"mount --bind "$0/shared" /var/lib/containers && mount -t tmpfs tmpfs /run \
        && exec podman --root "$0/root" --runroot "$0/run" \
        --tmpdir "$0/libpod" --storage-driver overlay pull --quiet --tls-verify=false "$1""#;
    std::fs::create_dir_all("/var/lib/containers")?;
    let mut command = meter.command(Place::Peer, Path::new("/usr/bin/unshare"));
    command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", script]);
    command.arg(dir).arg(reference).env("TMPDIR", dir.join("tmp"));
    command.env("CONTAINERS_CONF", config);
    Ok(command)
}

/// All layers, as many at a time as there are CPUs, each into a directory of its own.
fn gunzip_tar<'a>(meter: &Meter, dir: &Path, layers: impl Iterator<Item = &'a Path>) -> Command {
    let one = r#"d=$(mktemp -d -p "$0") && libdeflate-gunzip -c "$1" | tar -x -C "$d""#;
    let script =
        r#"cpus=$1 one=$2; shift 2; printf '%s\0' "$@" | xargs -0 -n 1 -P "$cpus" /bin/sh -c "$one" "$0""#;
    let mut command = meter.command(Place::Peer, Path::new("/bin/sh"));
    command.args(["-c", script]).arg(dir);
    command.arg(process::cpus().to_string()).arg(one).args(layers);
    command
}

/// Our side, which says how far it is; killed when dropped early.
struct Pull {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Pull {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .context("cannot run the example `pull`")?;
        let said = BufReader::new(child.stdout.take().context("a pipe")?);
        Ok(Self { child, said })
    }

    async fn hear(&mut self, word: &str) -> anyhow::Result<()> {
        let mut line = String::new();
        self.said.read_line(&mut line).await?;
        ensure!(line.trim() == word, "our pull failed before it was {word}");
        Ok(())
    }

    async fn go_on(&mut self, until: &str) -> anyhow::Result<()> {
        let stdin = self.child.stdin.as_mut().context("a pipe")?;
        stdin.write_all(b"\n").await?;
        self.hear(until).await?;
        self.child.wait().await?;
        Ok(())
    }
}
