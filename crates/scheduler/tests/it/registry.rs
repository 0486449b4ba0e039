//! Debian's `docker-registry` as a child process on a free port.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

/// A running registry; ends when dropped.
pub struct Registry {
    child: Child,
    port: u16,
    _home: TempDir,
}

impl Registry {
    /// One that demands this user and password, if any.
    pub fn start(login: Option<(&str, &str)>) -> Self {
        let home = tempfile::tempdir().expect("a directory for the registry");
        std::fs::write(home.path().join("config.yml"), config(&home, login)).expect("config is written");
        let mut child = Command::new("/usr/bin/docker-registry")
            .arg("serve")
            .arg(home.path().join("config.yml"))
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry is installed");
        let log = child.stderr.take().expect("stderr is piped");
        let (sender, ports) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            // Reads on to the end, so that the registry never blocks on its log.
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                if let Some(port) = listening_port(&line) {
                    let _ = sender.try_send(port);
                }
            }
        });
        let port = ports.recv_timeout(Duration::from_secs(20));
        let registry = Self {
            child,
            port: port.as_ref().copied().unwrap_or_default(),
            _home: home,
        };
        port.expect("the registry listens");
        registry
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listening_port(line: &str) -> Option<u16> {
    let address = line.split_once("listening on 127.0.0.1:")?.1;
    let digits: String = address.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn config(home: &TempDir, login: Option<(&str, &str)>) -> String {
    let home = home.path();
    let mut text = format!(
        "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n\
         http:\n  addr: 127.0.0.1:0\n  secret: test\n",
        home.join("data").display()
    );
    if let Some((user, password)) = login {
        let path = home.join("htpasswd");
        let made = Command::new("htpasswd").args(["-Bbn", user, password]).output();
        let made = made.expect("htpasswd is installed");
        assert!(made.status.success(), "{made:?}");
        std::fs::write(&path, made.stdout).expect("htpasswd is written");
        text += &format!(
            "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
            path.display()
        );
    }
    text
}
