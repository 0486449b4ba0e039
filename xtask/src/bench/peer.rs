//! The other way to run a container: crun or runc from a shell, on the same bundle.
//!
//! The shell is started once and told what to do line by line, so that a cycle pays for its own processes only. It
//! lives in a mount namespace of its own where the version 2 hierarchy is hidden: this crun refuses machines that have
//! both, and would otherwise not run at all.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::meter::{Meter, Place};

/// A shell that runs the functions of `peer.sh`.
pub struct Shell {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    dir: PathBuf,
}

impl Shell {
    /// Starts the shell; it works in the new directory `dir` with this OCI runtime.
    ///
    /// # Errors
    /// When `unshare` or `bash` is missing.
    pub fn start(meter: &Meter, dir: &Path, runtime: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join("peer.sh"), include_str!("peer.sh"))?;
        // Never a device of the host as standard input: crun gives it to the container's user.
        std::fs::write(dir.join("empty"), "")?;
        let mut child = meter
            .command(Place::Peer, Path::new("unshare"))
            .args(["--mount", "--propagation", "private", "bash"])
            .arg(dir.join("peer.sh"))
            .arg(dir)
            .arg(runtime)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run unshare")?;
        let stdin = child.stdin.take().context("a pipe")?;
        let stdout = BufReader::new(child.stdout.take().context("a pipe")?);
        Ok(Self {
            child,
            stdin,
            stdout,
            dir: dir.to_owned(),
        })
    }

    /// Runs one function of `peer.sh` with its arguments.
    ///
    /// # Errors
    /// When it fails; with what was printed.
    pub fn run(&mut self, line: &str) -> anyhow::Result<()> {
        writeln!(self.stdin, "{line}")?;
        self.stdin.flush()?;
        let mut answer = String::new();
        self.stdout.read_line(&mut answer)?;
        ensure!(
            answer.trim() == "0",
            "{line} ended with {:?}: {}",
            answer.trim(),
            std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
        );
        Ok(())
    }

    /// Tells the shell what to do without waiting for the end; [`Shell::finish`] does.
    pub fn begin(&mut self, line: &str) -> anyhow::Result<()> {
        writeln!(self.stdin, "{line}")?;
        Ok(self.stdin.flush()?)
    }

    /// Waits for what was begun.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        let mut answer = String::new();
        self.stdout.read_line(&mut answer)?;
        ensure!(
            answer.trim() == "0",
            "the peer's script ended with {:?}: {}",
            answer.trim(),
            std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
        );
        Ok(())
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.stdin.write_all(b"quit\n");
        let _ = self.stdin.flush();
        let _ = self.child.wait();
    }
}

/// Turns the platform's own bundle into one for a peer: the same container, other paths. The platform's files for
/// name resolution are left out, and the version is one the peer knows.
pub fn bundle(ours: &Value, rootfs: &str, cgroups_path: &str) -> anyhow::Result<Value> {
    let mut bundle = ours.clone();
    let set = |bundle: &mut Value, pointer: &str, value: Value| -> anyhow::Result<()> {
        *bundle
            .pointer_mut(pointer)
            .with_context(|| format!("a bundle without {pointer}"))? = value;
        Ok(())
    };
    set(&mut bundle, "/ociVersion", json!("1.0.2"))?;
    set(&mut bundle, "/root/path", json!(rootfs))?;
    set(&mut bundle, "/linux/cgroupsPath", json!(cgroups_path))?;
    let mounts = bundle
        .pointer_mut("/mounts")
        .and_then(Value::as_array_mut)
        .context("a bundle without mounts")?;
    mounts.retain(|mount| mount["type"] != "bind");
    Ok(bundle)
}

/// The same bundle without its system call filter.
pub fn without_seccomp(bundle: &Value) -> Value {
    let mut bundle = bundle.clone();
    if let Some(linux) = bundle.pointer_mut("/linux").and_then(Value::as_object_mut) {
        linux.remove("seccomp");
    }
    bundle
}

/// Gives a tree to one user and group, as the container's user namespace maps its root.
pub fn give(tree: &Path, id: u32) -> anyhow::Result<()> {
    std::os::unix::fs::lchown(tree, Some(id), Some(id))?;
    if tree.is_dir() && !tree.is_symlink() {
        for entry in std::fs::read_dir(tree)? {
            give(&entry?.path(), id)?;
        }
    }
    Ok(())
}

/// The host's id of the root of a bundle's user namespace.
pub fn first_host_id(bundle: &Value) -> anyhow::Result<u32> {
    let id = bundle
        .pointer("/linux/uidMappings/0/hostID")
        .and_then(Value::as_u64);
    Ok(u32::try_from(id.context("a bundle without a user id map")?)?)
}
