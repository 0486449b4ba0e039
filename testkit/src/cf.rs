//! Command-line clients: the built-in one, and the official `cf` where it is on PATH, each with a home of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::Command;

/// Longest a command may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client with its configuration.
#[derive(Debug, Clone)]
pub struct Cf {
    program: PathBuf,
    home: PathBuf,
    env: Vec<(String, String)>,
}

/// What a command did.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Exit code.
    pub code: i32,
    /// Standard output and error, in this order.
    pub text: String,
}

impl Cf {
    /// The built-in client with its home below `dir`.
    pub fn built_in(dir: &Path) -> anyhow::Result<Self> {
        Self::of(crate::platform::Platform::binary(), dir.join("home-slipway"))
    }

    /// The official clients that are on PATH, under the names `cf`, `cf8`, `cf9`; each program once.
    pub fn official(dir: &Path) -> anyhow::Result<Vec<Self>> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut found: Vec<PathBuf> = Vec::new();
        for name in ["cf8", "cf9", "cf"] {
            let hit = std::env::split_paths(&path)
                .map(|d| d.join(name))
                .find_map(|p| p.canonicalize().ok());
            if let Some(program) = hit.filter(|program| !found.contains(program)) {
                found.push(program);
            }
        }
        found
            .into_iter()
            .enumerate()
            .map(|(i, program)| Self::of(program, dir.join(format!("home-cf-{i}"))))
            .collect()
    }

    fn of(program: PathBuf, home: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&home)?;
        Ok(Self {
            program,
            home,
            env: Vec::new(),
        })
    }

    /// The program's file name.
    pub fn name(&self) -> String {
        self.program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// The same client with a variable set.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            .env("CF_HOME", &self.home)
            .env("SLIPWAY_HOME", &self.home)
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a command to its end, whatever that is.
    pub async fn try_run(&self, args: &[&str]) -> anyhow::Result<Ran> {
        let output = tokio::time::timeout(PATIENCE, self.command(args).output());
        let output = output
            .await
            .with_context(|| format!("{} {args:?} hung", self.name()))??;
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(Ran {
            code: output.status.code().unwrap_or(-1),
            text,
        })
    }

    /// Runs a command that must succeed, and gives what it printed.
    pub async fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let ran = self.try_run(args).await?;
        if ran.code != 0 {
            bail!("{} {args:?} exited with {}:\n{}", self.name(), ran.code, ran.text);
        }
        Ok(ran.text)
    }

    /// Runs a command that must fail, and gives what it printed.
    pub async fn fail(&self, args: &[&str]) -> anyhow::Result<String> {
        let ran = self.try_run(args).await?;
        if ran.code == 0 {
            bail!("{} {args:?} succeeded:\n{}", self.name(), ran.text);
        }
        Ok(ran.text)
    }

    /// Logs in as admin and targets an org and a space, made when missing.
    pub async fn at_home(&self, api: &str, org: &str, space: &str) -> anyhow::Result<()> {
        self.run(&["api", api, "--skip-ssl-validation"]).await?;
        self.run(&["auth", "admin", crate::platform::PASSWORD]).await?;
        self.run(&["create-org", org]).await?;
        self.run(&["create-space", space, "-o", org]).await?;
        self.run(&["target", "-o", org, "-s", space]).await?;
        Ok(())
    }
}
