//! Running one more program in a container that runs: its own short-lived process, with the rights of the first
//! program and under the same limits and filter.
//!
//! ```text
//! daemon ── spawn ──▶ runner ── joins the groups, then all namespaces ── clone ──▶ program
//! ```
//!
//! The runner stays outside the container's pid namespace, is not dumpable, and holds nothing of the host but its own
//! standard descriptors, which the daemon chose for the program. When it dies, the program is killed.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{FileType, Gid, Uid, fchown, fstat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use serde::{Deserialize, Serialize};

use super::program::Program;
use super::{During, Failure, Stdio, become_root, user};
use crate::cgroup::Cgroups;
use crate::oci::Spec;
use crate::protocol::{Reply, Request};
use crate::record::names;
use crate::rules;

/// What to run; the file it is in is removed once read.
#[derive(Serialize, Deserialize)]
pub(crate) struct Command {
    pub argv: Vec<String>,
    /// Added to the container's.
    pub env: Vec<String>,
    /// Empty: the container's.
    pub cwd: String,
    /// Empty: the container's.
    pub user: String,
}

/// Status of a program that could not be run, as shells have it.
pub(crate) const NOT_RUN: i32 = 127;

/// Runs the command in `file` of the instance in the working directory; returns its status, or 128 + its signal.
pub(crate) fn run(mut spec: Spec, file: &Path) -> Result<i32, Failure> {
    let command = take(file)?;
    // The program is for a moment a copy of this process, with these arguments, that others inside can see.
    sys::exec::set_title("exec").during("set the process title")?;
    let filter =
        crate::seccomp::compile(&spec.linux.seccomp).map_err(|e| Failure::refused(base::chain(&e)))?;
    let stdio = take_stdio(&spec)?;
    enter(&spec)?;
    become_root()?;
    let own = spec.annotations.get(rules::USER).map_or("", String::as_str);
    let wanted = if command.user.is_empty() {
        own
    } else {
        &command.user
    };
    let account = user::resolve_text(&spec, wanted)?;
    let process = &mut spec.process;
    process.args = command.argv;
    process.env.extend(command.env);
    if !command.cwd.is_empty() {
        process.cwd = command.cwd;
    }
    for fd in stdio.fds() {
        hand_over(fd, account.uid, account.gid)?;
    }
    let child = Program::new(process, account)?.spawn(&filter, &stdio)?;
    drop(stdio);
    await_end(child.pid)
}

fn take(file: &Path) -> Result<Command, Failure> {
    let text = fs::read(file).during("read the command")?;
    fs::remove_file(file).during("remove the command's file")?;
    serde_json::from_slice(&text)
        .map_err(std::io::Error::from)
        .during("parse the command")
}

/// Joins the container's groups and namespaces; children are then in its pid namespace too.
fn enter(spec: &Spec) -> Result<(), Failure> {
    let init = init()?;
    let refused = |error: crate::cgroup::CgroupError| Failure::refused(base::chain(&error));
    let cgroups = Cgroups::detect().map_err(refused)?;
    cgroups
        .group(&spec.linux.cgroups_path)
        .enter(0)
        .map_err(refused)?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .during("become untraceable")?;
    let all = ThreadNameSpaceType::USER
        | ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::CONTROL_GROUP;
    move_into_thread_name_spaces(init.as_fd(), all).during("enter the container")
}

/// The container's init. Its number is asked for again after it was opened: while the shim answers, init is not
/// reaped, so the number cannot have passed to another process in between.
fn init() -> Result<OwnedFd, Failure> {
    let gone = || Failure::refused("the container has ended");
    let before = ask()?;
    let pid = Pid::from_raw(before.pid).ok_or_else(gone)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).during("find the container's init")?;
    let after = ask()?;
    if after.started_at.is_none() {
        return Err(Failure::refused("the container's program has not been started"));
    }
    if after.pid == before.pid {
        Ok(pidfd)
    } else {
        Err(gone())
    }
}

fn ask() -> Result<Reply, Failure> {
    let step = "ask the shim for its container";
    let mut stream = UnixStream::connect(names::SOCKET).during(step)?;
    let mut line = serde_json::to_vec(&Request::State)
        .map_err(std::io::Error::from)
        .during(step)?;
    line.push(b'\n');
    stream.write_all(&line).during(step)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).during(step)?;
    serde_json::from_str(&answer)
        .map_err(std::io::Error::from)
        .during(step)
}

/// The runner's own standard descriptors, for the program.
fn take_stdio(spec: &Spec) -> Result<Stdio, Failure> {
    let copy = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().during("copy a standard descriptor");
    let stdio = Stdio {
        stdin: copy(rustix::stdio::stdin())?,
        stdout: copy(rustix::stdio::stdout())?,
        stderr: copy(rustix::stdio::stderr())?,
    };
    let first = |maps: &[crate::oci::IdMapping]| maps.first().map_or(0, |map| map.host_id);
    for fd in stdio.fds() {
        hand_over(
            fd,
            first(&spec.linux.uid_mappings),
            first(&spec.linux.gid_mappings),
        )?;
    }
    Ok(stdio)
}

/// Gives a pipe to a user, who may then open /dev/stdout again. Device nodes of the host never go inside.
fn hand_over(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<(), Failure> {
    let stat = fstat(fd).during("look at a standard descriptor")?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            fchown(fd, uid, gid).during("hand over a pipe")
        }
        FileType::CharacterDevice | FileType::BlockDevice => Err(Failure::refused(
            "a device of the cell cannot be a program's standard descriptor; pass a pipe",
        )),
        _ => Ok(()),
    }
}

fn await_end(child: Pid) -> Result<i32, Failure> {
    loop {
        match waitpid(Some(child), WaitOptions::empty()) {
            Err(Errno::INTR) | Ok(None) => {}
            waited => {
                let status = waited.during("wait for the program")?.map(|(_, status)| status);
                let signal = status.and_then(|status| status.terminating_signal());
                let exit = status.and_then(|status| status.exit_status());
                return Ok(signal.map_or(exit.unwrap_or(NOT_RUN), |signal| 128 + signal));
            }
        }
    }
}
