//! One call of another runtime's command line.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Deserialize;

use super::area::AREA;
use crate::init::{During, Failure};

/// A runtime works for milliseconds; one that starts a virtual machine for a second or two.
const DONE_WITHIN: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

/// Longer reasons are cut.
const LONGEST_REASON: usize = 4096;

/// How to call the runtime for one container.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// The program.
    pub program: PathBuf,
    /// Its own directory for what it must remember, below the instance's.
    pub state: PathBuf,
    /// The container's id.
    pub id: String,
}

/// A line of its log.
#[derive(Deserialize)]
struct LogLine {
    #[serde(default)]
    level: String,
    msg: String,
}

impl Runtime {
    /// `PROGRAM … VERB` with `args` and then the container's id.
    ///
    /// # Errors
    /// What the runtime says about its failure.
    pub fn call(&self, verb: &str, args: &[&str]) -> Result<(), Failure> {
        let null = || Stdio::null();
        self.call_with(verb, args, [null(), null(), null()])
    }

    /// As [`Runtime::call`], with the standard descriptors for the container.
    pub fn call_with(&self, verb: &str, args: &[&str], stdio: [Stdio; 3]) -> Result<(), Failure> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let log = Path::new(AREA).join(format!("log-{}-{number}", std::process::id()));
        File::create(&log).during("make the runtime's log")?;
        let [stdin, stdout, stderr] = stdio;
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.state).arg("--log").arg(&log);
        command
            .args(["--log-format", "json", verb])
            .args(args)
            .arg(&self.id);
        command.env_clear().env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        let spawned = command.spawn();
        // It holds our copies of the container's descriptors.
        drop(command);
        let ended = spawned
            .during(format!("run {}", self.program.display()))
            .and_then(|child| self.finish(verb, child));
        let said = fs::read_to_string(&log).unwrap_or_default();
        // Its file system goes with the shim anyway.
        drop(fs::remove_file(&log));
        match ended? {
            true => Ok(()),
            false => Err(Failure::refused(reason(&self.program, verb, &said))),
        }
    }

    /// Waits for the end of a call; whether it was a success.
    fn finish(&self, verb: &str, mut child: Child) -> Result<bool, Failure> {
        let step = || format!("wait for {} {verb}", self.program.display());
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Failure::refused("a process without a number"))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).during(step())?;
        loop {
            match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&DONE_WITHIN)) {
                Err(Errno::INTR) => {}
                Ok(0) => {
                    child.kill().and_then(|()| child.wait()).during(step())?;
                    return Err(Failure::refused(format!(
                        "{} {verb} did not end within {}s",
                        self.program.display(),
                        DONE_WITHIN.tv_sec
                    )));
                }
                polled => {
                    polled.during(step())?;
                    return Ok(child.wait().during(step())?.success());
                }
            }
        }
    }
}

/// The errors in a log of JSON lines, or all of it when it is something else.
fn reason(program: &Path, verb: &str, log: &str) -> String {
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<LogLine>(line).ok());
    let errors: Vec<String> = lines
        .filter(|line| !["debug", "info", "warning"].contains(&line.level.as_str()))
        .map(|line| line.msg)
        .collect();
    let mut said = if errors.is_empty() {
        log.trim().to_owned()
    } else {
        errors.join("; ")
    };
    if said.len() > LONGEST_REASON {
        let cut = (0..=LONGEST_REASON).rev().find(|at| said.is_char_boundary(*at));
        said.truncate(cut.unwrap_or(0));
    }
    if said.is_empty() {
        said = "it gave no reason".to_owned();
    }
    format!("{} {verb}: {said}", program.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_taken_from_the_log() {
        let log = "{\"level\":\"warning\",\"msg\":\"w\"}\n{\"level\":\"error\",\"msg\":\"no such thing\"}\n";
        assert_eq!(
            reason(Path::new("/x/crun"), "create", log),
            "/x/crun create: no such thing"
        );
        assert_eq!(reason(Path::new("r"), "kill", " plain "), "r kill: plain");
        assert_eq!(reason(Path::new("r"), "kill", ""), "r kill: it gave no reason");
    }
}
