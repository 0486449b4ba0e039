//! A PostgreSQL of our own, as a peer for start time and footprint: the database a platform of parts would need.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// Where its programs and its data are.
pub struct Postgres {
    programs: PathBuf,
    data: PathBuf,
    _dir: tempfile::TempDir,
}

/// A running server; ends with this value.
pub struct Server(Child);

impl Postgres {
    /// Finds the programs, or `None` when they are not installed; the data will be on the disk of `/tmp`.
    ///
    /// # Errors
    /// When no directory can be made.
    pub fn find() -> anyhow::Result<Option<Self>> {
        let versions = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten();
        let Some(programs) = versions
            .map(|entry| entry.path().join("bin"))
            .find(|dir| dir.join("initdb").exists())
        else {
            return Ok(None);
        };
        let dir = tempfile::Builder::new().prefix("slb").tempdir_in("/tmp")?;
        std::os::unix::fs::chown(dir.path(), Some(user_id("-u")?), Some(user_id("-g")?))?;
        Ok(Some(Self {
            programs,
            data: dir.path().join("data"),
            _dir: dir,
        }))
    }

    /// It refuses to run as root.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
            .arg(self.programs.join(program));
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// Makes a new, empty data directory.
    ///
    /// # Errors
    /// When initdb fails.
    pub fn init(&self) -> anyhow::Result<()> {
        if self.data.exists() {
            std::fs::remove_dir_all(&self.data)?;
        }
        let output = self
            .command("initdb")
            .args(["--auth=trust", "--pgdata"])
            .arg(&self.data)
            .output()?;
        ensure!(
            output.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Starts the server; returns when it says that it is ready, and how long after `began` that was.
    ///
    /// # Errors
    /// When it ends instead.
    pub fn start(&self, began: Instant) -> anyhow::Result<(Server, Duration)> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut child = self
            .command("postgres")
            .arg("-D")
            .arg(&self.data)
            .args(["-p", &port.to_string(), "-c", "unix_socket_directories="])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("a pipe")?);
        let server = Server(child);
        let mut said = String::new();
        loop {
            let from = said.len();
            if lines.read_line(&mut said)? == 0 {
                bail!("postgres did not start: {said}");
            }
            if said
                .get(from..)
                .is_some_and(|line| line.contains("ready to accept connections"))
            {
                let ready = began.elapsed();
                // Whatever it says from now on is read by nobody, and must not stop it.
                std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
                return Ok((server, ready));
            }
        }
    }
}

impl Server {
    /// Process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fast shutdown, which leaves nothing to be recovered at the next start.
        let _ = Command::new("kill")
            .args(["-INT", &self.0.id().to_string()])
            .status();
        let _ = self.0.wait();
    }
}

fn user_id(kind: &str) -> anyhow::Result<u32> {
    let output = Command::new("id").args([kind, "postgres"]).output()?;
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .context("there is no user postgres")
}
