//! Programs of the host that run at moments of a container's life.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;

use crate::init::{During, Failure};
use crate::oci::Hook;

/// Without a limit of its own a hook may take this long.
const PATIENCE_SECS: u64 = 60;

/// Runs the hooks one after the other, with the container's state as standard input.
pub fn run(moment: &str, hooks: &[Hook], state: &Value) -> Result<(), Failure> {
    hooks.iter().try_for_each(|hook| one(moment, hook, state))
}

fn one(moment: &str, hook: &Hook, state: &Value) -> Result<(), Failure> {
    let name = format!("{moment} hook {}", hook.path.display());
    if !hook.path.is_absolute() {
        return Err(Failure::refused(format!("{name} is not an absolute path")));
    }
    let mut command = Command::new(&hook.path);
    if let Some((first, rest)) = hook.args.split_first() {
        command.arg0(first).args(rest);
    }
    command.env_clear();
    command.envs(hook.env.iter().filter_map(|entry| entry.split_once('=')));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().during(format!("run the {name}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read is fine.
        drop(stdin.write_all(state.to_string().as_bytes()));
    }
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Failure::refused("a process without a number"))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).during(format!("wait for the {name}"))?;
    let patience = Timespec {
        tv_sec: i64::try_from(hook.timeout.unwrap_or(PATIENCE_SECS)).unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    if poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience))
        .during(format!("wait for the {name}"))?
        == 0
    {
        child
            .kill()
            .and_then(|()| child.wait())
            .during(format!("end the {name}"))?;
        return Err(Failure::refused(format!("the {name} did not end in time")));
    }
    let status = child.wait().during(format!("wait for the {name}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::refused(format!("the {name} failed: {status}")))
    }
}
