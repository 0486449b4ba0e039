//! Running one more program in a running container.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::process::Command;

use crate::error::{Error, file};
use crate::init::command;
use crate::protocol::Request;
use crate::record;
use crate::runtime::Runtime;
use crate::spec::ExecSpec;

impl Runtime {
    /// Runs a program beside the container's own, with the same rights, limits and filter; returns its status (128 + n
    /// when it died of signal n, 127 with a word on its standard error when it could not be run).
    ///
    /// Dropping the future kills it. It ends with the container.
    ///
    /// # Errors
    /// [`Error::Invalid`], or [`Error::State`] when the container's program does not run.
    pub async fn exec(&self, id: &str, spec: ExecSpec) -> Result<i32, Error> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        spec.check()?;
        if self
            .inner
            .request(id, &Request::State)
            .await?
            .started_at
            .is_none()
        {
            return Err(Error::State {
                id: id.to_owned(),
                reason: "its program is not running".to_owned(),
            });
        }
        let dir = self.inner.dir(id);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("exec-{}-{number}", std::process::id()));
        // By file, not by argument: the environment may hold secrets, and arguments can be seen by every process.
        let command = command::Command {
            argv: spec.argv,
            env: spec.env,
            cwd: spec.cwd,
            user: spec.user,
        };
        let json = file(
            serde_json::to_vec(&command).map_err(std::io::Error::from),
            "write",
            &path,
        )?;
        file(record::write_whole(&path, &json), "write", &path)?;
        let _unread = Unread(path.clone());
        let (program, args) = self.inner.shim_command()?;
        let mut runner = Command::new(program);
        runner
            .args(args)
            .arg(&dir)
            .arg(&path)
            .env_clear()
            .current_dir(&dir)
            .kill_on_drop(true);
        runner
            .stdin(Stdio::from(spec.stdin))
            .stdout(Stdio::from(spec.stdout))
            .stderr(Stdio::from(spec.stderr));
        let spawned = runner.spawn();
        // Holds copies of the descriptors, whose other ends wait for the last copy to close.
        drop(runner);
        let mut child = file(spawned, "run", program)?;
        let status = file(child.wait().await, "wait for", program)?;
        Ok(status
            .code()
            .unwrap_or(128 + crate::signal::Signal::KILL.number()))
    }
}

/// Removes the command's file if the runner never came to it.
struct Unread(PathBuf);

impl Drop for Unread {
    fn drop(&mut self) {
        // Usually the runner has removed it.
        drop(fs::remove_file(&self.0));
    }
}
