//! The demo: the whole platform on this machine, an image put into its own registry, pushed and requested as a user
//! would, by the built-in command line through the public API.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use console::style;
use testkit::image::{Destination, Image};
use testkit::{apps, wait};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// What happens after the check.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Runs until Ctrl-C.
    KeepRunning,
    /// Cleans up and ends.
    End,
}

/// Runs the demo.
///
/// # Errors
/// When any step fails; everything is cleaned up first.
pub fn run(then: Then) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut demo = Demo::new()?;
        let mut terminate = signal(SignalKind::terminate())?;
        // Cancel-safe: whatever was begun is cleaned up below by name. Biased, so that the Ctrl-C a running demo waits
        // for is its good end and not an interruption.
        let outcome = tokio::select! {
            biased;
            outcome = demo.play(then) => outcome,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
            _ = terminate.recv() => Err(anyhow::anyhow!("told to end")),
        };
        let cleaned = demo.clean_up().await;
        outcome.and(cleaned)
    })
}

struct Demo {
    binary: PathBuf,
    dir: PathBuf,
    home: PathBuf,
    api: String,
    router: String,
    registry: String,
    platform: Option<Child>,
}

/// The default port, or a free one when something else has it.
fn address(port: u16) -> anyhow::Result<String> {
    let socket = TcpListener::bind(("127.0.0.1", port)).or_else(|_| TcpListener::bind("127.0.0.1:0"))?;
    Ok(socket.local_addr()?.to_string())
}

impl Demo {
    fn new() -> anyhow::Result<Self> {
        let binary = testkit::target_dir().join("slipway");
        ensure!(
            binary.exists(),
            "{} is missing; run: cargo build",
            binary.display()
        );
        let dir = testkit::target_dir().join("demo");
        Ok(Self {
            binary,
            home: dir.join("home"),
            api: address(8081)?,
            router: address(8080)?,
            registry: address(8082)?,
            dir,
            platform: None,
        })
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    async fn play(&mut self, then: Then) -> anyhow::Result<()> {
        println!(
            "{}\n",
            style("Slipway demo: from nothing to a running app").bold()
        );
        std::fs::create_dir_all(&self.home)?;
        self.start_platform().await?;
        let password = std::fs::read_to_string(self.data_dir().join("admin-password"))?
            .trim()
            .to_owned();
        let api = format!("http://{}", self.api);
        self.cf(&["api", &api]).await?;
        self.cf_quietly(&["auth", "admin", &password], "auth admin ***")
            .await?;
        self.cf(&["create-org", "demo"]).await?;
        self.cf(&["create-space", "dev", "-o", "demo"]).await?;
        self.cf(&["target", "-o", "demo", "-s", "dev"]).await?;
        self.cf(&["enable-feature-flag", "diego_docker"]).await?;
        let image = self.put_image(&password).await?;
        let begun = Instant::now();
        self.cf(&["push", "hello", "--docker-image", &image, "-m", "64M"])
            .await?;
        let body = self.request().await?;
        step(&format!(
            "the app answered {:.1} s after the push began:",
            begun.elapsed().as_secs_f64()
        ));
        for line in body.lines() {
            println!("    {}", style(line).green());
        }
        if then == Then::KeepRunning {
            self.invite();
            self.wait_for_end().await?;
        }
        Ok(())
    }

    async fn start_platform(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut child = Command::new(&self.binary)
            .args(["up", "--api-listen", &self.api, "--http-listen", &self.router])
            .args(["--registry-listen", &self.registry, "--data-dir"])
            .arg(self.data_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()?;
        let url = format!("http://{}/healthz", self.api);
        testkit::tls();
        let client = reqwest::Client::new();
        wait::until("the platform", Duration::from_secs(30), || {
            let ended = child.try_wait().ok().flatten();
            let asked = client.get(&url).timeout(Duration::from_secs(1)).send();
            async move {
                if ended.is_some() {
                    return Some(false);
                }
                asked
                    .await
                    .ok()
                    .filter(|answer| answer.status() == 200)
                    .map(|_| true)
            }
        })
        .await?
        .then_some(())
        .context("the platform did not start; its words are above")?;
        self.platform = Some(child);
        step(&format!(
            "the platform is up after {} ms: API http://{}",
            begun.elapsed().as_millis(),
            self.api
        ));
        Ok(())
    }

    async fn put_image(&self, password: &str) -> anyhow::Result<String> {
        let image = Image::of_program(&apps::binary(apps::HELLO)?, 8080)?;
        let to = Destination {
            registry: &self.registry,
            repository: "demo/dev/hello",
            tag: "1",
            login: Some(("admin", password)),
        };
        let digest = image.push(&to).await?;
        let name = format!("{}/demo/dev/hello:1", self.registry);
        step(&format!(
            "an image is in the platform's own registry: {name} ({})",
            digest.get(..19).unwrap_or_default()
        ));
        Ok(name)
    }

    async fn cf(&self, args: &[&str]) -> anyhow::Result<()> {
        self.cf_quietly(args, &args.join(" ")).await
    }

    /// Runs a command but shows it as `shown`: a password is nobody's to read.
    async fn cf_quietly(&self, args: &[&str], shown: &str) -> anyhow::Result<()> {
        println!("{} slipway {shown}", style("$").dim());
        let mut command = Command::new(&self.binary);
        command
            .args(args)
            .env("SLIPWAY_HOME", &self.home)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if args.first() == Some(&"push") {
            let status = command.spawn()?.wait().await?;
            ensure!(status.success(), "slipway {shown} failed");
            return Ok(());
        }
        let output = command.output().await?;
        if !output.status.success() {
            let text = [output.stdout, output.stderr].concat();
            bail!("slipway {shown} failed\n{}", String::from_utf8_lossy(&text));
        }
        Ok(())
    }

    fn host(&self) -> String {
        let port = self.router.rsplit(':').next().unwrap_or_default();
        format!("hello.apps.localhost:{port}")
    }

    async fn request(&self) -> anyhow::Result<String> {
        println!("{} curl http://{}", style("$").dim(), self.host());
        let answer = reqwest::Client::new()
            .get(format!("http://{}/", self.router))
            .header("host", self.host())
            .timeout(Duration::from_secs(10))
            .send()
            .await?;
        let status = answer.status();
        let body = answer.text().await?;
        ensure!(status == 200, "the app answered {status}: {body}");
        ensure!(
            body.starts_with("Hello from Slipway!"),
            "another app answered: {body}"
        );
        Ok(body)
    }

    fn invite(&self) {
        let binary = relative(&self.binary);
        println!(
            "\n{}\n\n  open     http://{}\n  CLI      cf login -a http://{} -u admin -p \"$(cat {})\" -o demo -s dev\n           \
             (no cf at hand: SLIPWAY_HOME={} {} apps)\n  try      cf logs hello --recent · cf scale hello -i 3 · cf app hello\n  \
             images   docker login {} -u admin, then push {}/demo/dev/NAME:TAG\n\nCtrl-C ends the demo and removes everything it made.",
            style("It keeps running. Go on from here:").bold(),
            self.host(),
            self.api,
            relative(&self.data_dir().join("admin-password")).display(),
            relative(&self.home).display(),
            binary.display(),
            self.registry,
            self.registry,
        );
    }

    async fn wait_for_end(&mut self) -> anyhow::Result<()> {
        let platform = self.platform.as_mut().context("the platform runs")?;
        // Cancel-safe: both only wait.
        tokio::select! {
            status = platform.wait() => bail!("the platform ended by itself: {}", status?),
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    }

    async fn clean_up(&mut self) -> anyhow::Result<()> {
        let output = Command::new(&self.binary)
            .args(["down", "--data-dir"])
            .arg(self.data_dir())
            .output()
            .await?;
        if let Some(mut platform) = self.platform.take() {
            let _ = tokio::time::timeout(Duration::from_secs(5), platform.wait()).await;
            let _ = platform.kill().await;
        }
        let _ = std::fs::remove_dir_all(&self.dir);
        ensure!(
            output.status.success(),
            "cannot clean up: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        step("everything is removed again");
        Ok(())
    }
}

fn step(text: &str) {
    println!("{} {text}", style("✓").green().bold());
}

/// Shorter where that is possible.
fn relative(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here)
        .map_or_else(|_| path.to_owned(), Path::to_owned)
}
