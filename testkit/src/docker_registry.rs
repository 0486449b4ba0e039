//! Debian's `docker-registry`, the registry everybody means, as a child process on a free port.

use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::sync::oneshot;

use crate::pusher::Pusher;

/// Longest wait until it listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running registry; ends with this value.
pub struct DockerRegistry {
    child: Child,
    port: u16,
    options: Options,
    requests: Arc<Mutex<Vec<String>>>,
    _home: tempfile::TempDir,
}

/// Whom a registry lets in.
#[derive(Debug, Clone, Default)]
pub enum Guard {
    /// Everybody.
    #[default]
    Open,
    /// Who knows this user name and password.
    Password(String, String),
}

impl Guard {
    /// Wants this user name and password.
    pub fn password(user: &str, password: &str) -> Self {
        Self::Password(user.to_owned(), password.to_owned())
    }
}

/// What differs between registries.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whom it lets in.
    pub guard: Guard,
    /// PEM of its certificate and of its key; without, it speaks plain HTTP.
    pub tls: Option<(String, String)>,
    /// Base of the URLs it sends those to who read blobs.
    pub redirect: Option<String>,
}

impl From<&Guard> for Options {
    fn from(guard: &Guard) -> Self {
        Self {
            guard: guard.clone(),
            ..Self::default()
        }
    }
}

impl DockerRegistry {
    /// Starts a registry and waits until it listens, in real time.
    ///
    /// # Errors
    /// When the program is missing or does not listen; what it printed is in the error.
    pub async fn start(options: impl Into<Options>) -> anyhow::Result<Self> {
        let options = options.into();
        let home = tempfile::tempdir()?;
        let path = home.path().join("config.yml");
        std::fs::write(&path, configuration(home.path(), &options)?)?;
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run docker-registry")?;
        let log = child.stderr.take().context("no log")?;
        let access_log = child.stdout.take().context("no access log")?;
        let mut registry = Self {
            child,
            port: 0,
            options,
            requests: Arc::default(),
            _home: home,
        };
        let requests = registry.requests.clone();
        std::thread::spawn(move || read_access_log(access_log, &requests));
        registry.port = listening(log).await?;
        Ok(registry)
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The requests it has answered, as `GET /v2/`. A request is listed a moment after its answer has ended.
    pub fn requests(&self) -> Vec<String> {
        self.requests
            .lock()
            .expect("no holder of this lock panics")
            .clone()
    }

    /// Pushes to it as someone it lets in.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn pusher(&self) -> anyhow::Result<Pusher> {
        let scheme = if self.options.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let login = match &self.options.guard {
            Guard::Open => None,
            Guard::Password(user, password) => Some((user.as_str(), password.as_str())),
        };
        Pusher::new(&format!("{scheme}://{}", self.host()), login)
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The port that the registry says it listens on.
async fn listening(log: ChildStderr) -> anyhow::Result<u16> {
    let (sender, port) = oneshot::channel();
    std::thread::spawn(move || read_log(log, sender));
    match tokio::time::timeout(PATIENCE, port).await {
        Ok(Ok(Ok(port))) => Ok(port),
        Ok(Ok(Err(printed))) => bail!("docker-registry ended:\n{printed}"),
        Ok(Err(_)) => bail!("the reader of docker-registry's log panicked"),
        Err(_) => bail!("docker-registry did not listen within {} s", PATIENCE.as_secs()),
    }
}

/// Sends the port, or all lines when there is none. Reads on to the end, so that the registry never blocks on its log.
fn read_log(log: ChildStderr, sender: oneshot::Sender<Result<u16, String>>) {
    let (mut sender, mut printed) = (Some(sender), String::new());
    for line in BufReader::new(log).lines().map_while(Result::ok) {
        if sender.is_none() {
            continue;
        }
        match listening_port(&line) {
            Some(port) => {
                // Nobody waits any more when the start was given up.
                let _ = sender.take().map(|sender| sender.send(Ok(port)));
            }
            None => printed += &format!("{line}\n"),
        }
    }
    let _ = sender.map(|sender| sender.send(Err(printed)));
}

/// Keeps method and path of each line, in the common log format: the request is in quotes.
fn read_access_log(log: ChildStdout, requests: &Mutex<Vec<String>>) {
    for line in BufReader::new(log).lines().map_while(Result::ok) {
        let request = line
            .split('"')
            .nth(1)
            .and_then(|request| request.rsplit_once(' '));
        if let Some((request, _)) = request {
            let mut requests = requests.lock().expect("no holder of this lock panics");
            requests.push(request.to_owned());
        }
    }
}

fn listening_port(line: &str) -> Option<u16> {
    let address = line.split_once("listening on 127.0.0.1:")?.1;
    let digits: String = address.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn configuration(home: &Path, options: &Options) -> anyhow::Result<String> {
    let at = home.display();
    // Level info, for the line that tells the port.
    let mut text = format!(
        "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {at}/data}}}}\n\
         http:\n  addr: 127.0.0.1:0\n  secret: test\n"
    );
    if let Some((certificate, key)) = &options.tls {
        std::fs::write(home.join("tls.crt"), certificate)?;
        std::fs::write(home.join("tls.key"), key)?;
        writeln!(text, "  tls: {{certificate: {at}/tls.crt, key: {at}/tls.key}}")?;
    }
    if let Guard::Password(user, password) = &options.guard {
        let made = Command::new("htpasswd")
            .args(["-Bbn", user, password])
            .output()
            .context("cannot run htpasswd")?;
        ensure!(made.status.success(), "htpasswd failed: {}", made.status);
        std::fs::write(home.join("htpasswd"), made.stdout)?;
        writeln!(text, "auth: {{htpasswd: {{realm: test, path: {at}/htpasswd}}}}")?;
    }
    if let Some(base) = &options.redirect {
        writeln!(
            text,
            "middleware: {{storage: [{{name: redirect, options: {{baseurl: \"{base}\"}}}}]}}"
        )?;
    }
    Ok(text)
}
