//! A platform in a process of its own, on free ports and a data directory of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::{leaks, ports, wait};

/// Password of the user admin in every test platform.
pub const PASSWORD: &str = "correct horse battery staple";

/// A platform. Dropping it kills the process and removes everything with `slipway down`; [`Platform::down`] does the
/// same and tells what went wrong.
pub struct Platform {
    /// Base of the API.
    pub api: String,
    /// `HOST:PORT` of the router.
    pub router: String,
    /// `HOST:PORT` of the own registry.
    pub registry: String,
    args: Vec<String>,
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Platform {
    /// Starts a platform with further arguments of `slipway up` and waits until it is healthy.
    ///
    /// # Errors
    /// When it does not become healthy; its output is in the error.
    pub async fn start(extra: &[&str]) -> anyhow::Result<Self> {
        // Short: sockets live below it.
        let dir = tempfile::Builder::new().prefix("slw").tempdir_in("/tmp")?;
        let address = || Ok::<_, anyhow::Error>(format!("127.0.0.1:{}", ports::free()?));
        let (api, router, registry) = (address()?, address()?, address()?);
        let mut args: Vec<String> = [
            ("--api-listen", &api),
            ("--http-listen", &router),
            ("--registry-listen", &registry),
        ]
        .iter()
        .flat_map(|(flag, value)| [(*flag).to_owned(), (*value).clone()])
        .collect();
        args.extend(extra.iter().map(|arg| (*arg).to_owned()));
        let mut platform = Self {
            api: format!("http://{api}"),
            router,
            registry,
            args,
            dir,
            child: None,
        };
        platform.up().await?;
        Ok(platform)
    }

    /// The program under test.
    pub fn binary() -> PathBuf {
        crate::target_dir().join("slipway")
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A directory for the test's own files, gone with the platform.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// Adds arguments for the next start.
    pub fn add_args(&mut self, more: &[&str]) {
        self.args.extend(more.iter().map(|arg| (*arg).to_owned()));
    }

    /// Process id of the platform.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts the process (again, after [`Platform::kill`] or [`Platform::terminate`]).
    pub async fn up(&mut self) -> anyhow::Result<()> {
        ensure!(
            Self::binary().exists(),
            "{} is missing; build it with: cargo build",
            Self::binary().display()
        );
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))?;
        let child = Command::new(Self::binary())
            .arg("up")
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(&self.args)
            .env("SLIPWAY_ADMIN_PASSWORD", PASSWORD)
            .env("SLIPWAY_LOG", "info")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        crate::tls();
        let url = format!("{}/healthz", self.api);
        let client = reqwest::Client::new();
        let healthy = wait::until("the platform to be healthy", Duration::from_secs(30), || async {
            let answer = client
                .get(&url)
                .timeout(Duration::from_secs(2))
                .send()
                .await
                .ok()?;
            (answer.status() == 200).then_some(())
        });
        healthy.await.with_context(|| self.log())
    }

    /// Everything the process printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, and the exit status.
    pub async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        let mut child = self.child.take().context("it does not run")?;
        let pid = child.id().to_string();
        ensure!(
            Command::new("kill").args(["-TERM", &pid]).status()?.success(),
            "cannot signal {pid}"
        );
        wait::until("the platform to end", Duration::from_secs(20), || {
            let ended = child.try_wait().ok().flatten();
            async move { ended }
        })
        .await
    }

    /// Removes everything and demands that nothing is left.
    ///
    /// # Errors
    /// When `slipway down` fails or the kernel still holds something of this platform.
    pub fn down(mut self) -> anyhow::Result<()> {
        let data = self.data_dir();
        let tag = leaks::tag(&data);
        let output = Command::new(Self::binary())
            .arg("down")
            .arg("--data-dir")
            .arg(&data)
            .output()?;
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        ensure!(
            output.status.success(),
            "down failed: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
        let left = leaks::of(&tag, &data);
        ensure!(left.is_empty(), "left behind: {left:#?}");
        Ok(())
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            let _ = Command::new(Self::binary())
                .arg("down")
                .arg("--data-dir")
                .arg(self.data_dir())
                .output();
        }
    }
}
