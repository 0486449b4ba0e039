//! An nginx of our own, on a directory and a port of its own: never the machine's service.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::Context;
use testkit::wait;

use super::meter::{Meter, Place};

/// Its program.
pub const PROGRAM: &str = "/usr/sbin/nginx";

/// A running nginx; ends with this value.
pub struct Nginx {
    child: Child,
    dir: PathBuf,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

impl Nginx {
    /// Starts nginx in a new directory `dir` with `workers` workers and this inside of `http { … }`; `@LISTEN@` in it
    /// stands for the address.
    ///
    /// # Errors
    /// When nginx is missing, or refuses the configuration.
    pub async fn start(meter: &Meter, dir: &Path, (workers, http): (usize, &str)) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir.join("apps"))?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let http = http.replace("@LISTEN@", &address);
        let temporary = |name: &str| format!("  {name}_temp_path {};\n", dir.join(name).display());
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(temporary)
            .concat();
        let config = format!(
            "daemon off;\nuser root;\nworker_processes {workers};\npid {pid};\nevents {{ worker_connections 1024; }}\n\
             http {{\n  keepalive_requests 1000000000;\n{paths}{http}\n}}\n",
            pid = dir.join("nginx.pid").display(),
        );
        std::fs::write(dir.join("nginx.conf"), config)?;
        let child = meter
            .command(Place::Peer, Path::new(PROGRAM))
            .arg("-e")
            .arg(dir.join("error.log"))
            .arg("-p")
            .arg(dir)
            .arg("-c")
            .arg(dir.join("nginx.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run nginx")?;
        let nginx = Self {
            child,
            dir: dir.to_owned(),
            address,
        };
        wait::until("nginx", Duration::from_secs(10), || async {
            tokio::net::TcpStream::connect(&nginx.address).await.ok()
        })
        .await
        .with_context(|| std::fs::read_to_string(dir.join("error.log")).unwrap_or_default())?;
        Ok(nginx)
    }

    /// Process id of the master.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its directory; what lies in `apps/*.conf` is read when the configuration includes it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers only when asked.
        let asked = std::process::Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
