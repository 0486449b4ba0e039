//! Debian's `docker-registry`, the registry everybody means, on a free port.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::wait;

/// A running registry; ends with this value.
pub struct DockerRegistry {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

/// How a registry guards itself.
#[derive(Debug, Clone)]
pub enum Guard {
    /// Not at all.
    Open,
    /// User name and password.
    Password(String, String),
    /// TLS with this certificate and key, no password.
    Tls(PathBuf, PathBuf),
}

impl DockerRegistry {
    /// Starts a registry.
    ///
    /// # Errors
    /// When the program is missing or does not answer.
    pub async fn start(guard: &Guard) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = dir.path().join("config.yml");
        std::fs::write(&config, configuration(dir.path(), port, guard)?)?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run docker-registry")?;
        let registry = Self {
            child,
            port,
            _dir: dir,
        };
        wait::until("docker-registry", Duration::from_secs(15), || async {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await?;
        Ok(registry)
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

fn configuration(dir: &Path, port: u16, guard: &Guard) -> anyhow::Result<String> {
    let mut text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}/data}}}}\nhttp:\n  addr: 127.0.0.1:{port}\n",
        dir.display()
    );
    match guard {
        Guard::Open => {}
        Guard::Tls(certificate, key) => {
            text.push_str(&format!(
                "  tls: {{certificate: {}, key: {}}}\n",
                certificate.display(),
                key.display()
            ));
        }
        Guard::Password(user, password) => {
            let made = Command::new("htpasswd")
                .args(["-Bbn", user, password])
                .output()
                .context("cannot run htpasswd")?;
            let file = dir.join("htpasswd");
            std::fs::write(&file, made.stdout)?;
            text.push_str(&format!(
                "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
                file.display()
            ));
        }
    }
    Ok(text)
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
