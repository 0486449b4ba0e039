//! A containerd of our own, all of it below one directory: never the machine's service.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use testkit::wait;

use crate::bench::meter::{Meter, Place};

/// A running containerd; ends with this value.
pub struct Containerd {
    child: Child,
    socket: PathBuf,
}

impl Containerd {
    /// Starts containerd with everything it keeps below `dir`, and waits until it listens.
    ///
    /// # Errors
    /// When it is missing or does not listen; its log is in the error.
    pub async fn start(meter: &Meter, dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)?;
        let at = dir.display();
        let config = format!(
            "version = 2\nroot = \"{at}/root\"\nstate = \"{at}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\naddress = \"{at}/grpc\"\n[ttrpc]\naddress = \"{at}/ttrpc\"\n"
        );
        let (config_path, log) = (dir.join("config.toml"), dir.join("log"));
        fs::write(&config_path, config)?;
        let child = meter
            .command(Place::Peer, Path::new("/usr/bin/containerd"))
            .arg("--config")
            .arg(&config_path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("cannot run containerd")?;
        let socket = dir.join("grpc");
        let containerd = Self { child, socket };
        let listens = || async { UnixStream::connect(&containerd.socket).ok() };
        wait::until("containerd", Duration::from_secs(20), listens)
            .await
            .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        Ok(containerd)
    }

    /// The command that pulls and unpacks an image.
    pub fn pull(&self, meter: &Meter, reference: &str) -> Command {
        let mut command = meter.command(Place::Peer, Path::new("/usr/bin/ctr"));
        command.arg("--address").arg(&self.socket);
        command.args(["images", "pull", "--plain-http", "--snapshotter", "overlayfs"]);
        command.arg(reference);
        command
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let asked = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
