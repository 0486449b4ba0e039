//! `start`, `state`, `kill`, `delete`, `run` and `ps`.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;

use super::args::Line;
use super::store::{Container, Place, START, Status};
use super::{create, hooks};
use crate::cgroup::Cgroups;
use crate::init::command::await_end;
use crate::init::{During, Failure};
use crate::signal::Signal;

/// How long a killed process may take to be gone.
const GONE_WITHIN: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// Runs the program of a created container; returns when its own code runs.
pub fn start(root: &Path, line: &Line) -> Result<(), Failure> {
    let id = line.id()?;
    let place = Place::of(root, id);
    let (mut container, spec) = place.load(id)?;
    let (status, _) = container.status();
    if status != Status::Created {
        return Err(Failure::refused(format!(
            "container {id} is {}, not created",
            status.word()
        )));
    }
    std::env::set_current_dir(&place.0).during("enter the container's directory")?;
    let step = "speak to the container's process";
    let mut stream = UnixStream::connect(START).during(step)?;
    stream.write_all(b"1").during(step)?;
    let mut reason = String::new();
    stream.read_to_string(&mut reason).during(step)?;
    if !reason.is_empty() {
        return Err(Failure::refused(reason));
    }
    container.started = true;
    place.save(&container)?;
    // Its failures do not undo what runs.
    if let Err(failure) = hooks::run(
        "poststart",
        &spec.hooks.poststart,
        &container.state(&spec, "running"),
    ) {
        eprintln!("{}", base::chain(&failure));
    }
    Ok(())
}

/// Prints the state.
pub fn state(root: &Path, line: &Line) -> Result<(), Failure> {
    let id = line.id()?;
    let (container, spec) = Place::of(root, id).load(id)?;
    let (status, _) = container.status();
    print(&container.state(&spec, status.word()))
}

pub(super) fn print(value: &serde_json::Value) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{value:#}").during("print")
}

/// Sends the container's process a signal; with `--all` everything in its groups.
pub fn kill(root: &Path, line: &Line) -> Result<(), Failure> {
    let id = line.id()?;
    let (container, _) = Place::of(root, id).load(id)?;
    let wanted = line.rest.get(1).map_or("TERM", String::as_str);
    let signal: Signal = wanted
        .parse()
        .map_err(|error: crate::signal::UnknownSignal| Failure::refused(error.to_string()))?;
    if line.has("all") {
        let cgroups = detect()?;
        cgroups
            .group(&container.cgroups_path)
            .signal_members(signal.number());
        return Ok(());
    }
    match container.status() {
        (_, Some(process)) => {
            sys::exec::send_signal(process.as_fd(), signal.number()).during("send the signal")
        }
        _ => Err(Failure::refused(format!("container {id} is not running"))),
    }
}

fn detect() -> Result<Cgroups, Failure> {
    Cgroups::detect().map_err(|error| Failure::refused(base::chain(&error)))
}

/// Removes a container that has ended or was not started; with `--force` any, also one that does not exist.
pub fn delete(root: &Path, line: &Line) -> Result<(), Failure> {
    let id = line.id()?;
    let place = Place::of(root, id);
    let force = line.has("force");
    let (container, spec) = match place.load(id) {
        Err(_) if force => return place.remove(),
        loaded => loaded?,
    };
    match container.status() {
        (Status::Running, _) if !force => {
            return Err(Failure::refused(format!(
                "container {id} is running; stop it, or use --force"
            )));
        }
        (_, Some(process)) => end(&process)?,
        (_, None) => {}
    }
    let cgroups = detect()?;
    let removed = cgroups.group(&container.cgroups_path).remove();
    removed.map_err(|error| Failure::refused(base::chain(&error)))?;
    if container.cgroups_path.starts_with(create::GROUPS) {
        cgroups.group(create::GROUPS).remove_if_empty();
    }
    place.remove()?;
    if let Err(failure) = hooks::run(
        "poststop",
        &spec.hooks.poststop,
        &container.state(&spec, "stopped"),
    ) {
        eprintln!("{}", base::chain(&failure));
    }
    Ok(())
}

fn end(process: &OwnedFd) -> Result<(), Failure> {
    // It may have ended in between.
    drop(sys::exec::send_signal(process.as_fd(), Signal::KILL.number()));
    let gone = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&GONE_WITHIN));
    if gone.during("wait for the container's end")? == 0 {
        return Err(Failure::refused("the container's process does not end"));
    }
    Ok(())
}

/// `create`, `start`, wait, `delete`; returns the program's status.
pub fn run(root: &Path, line: &Line) -> Result<i32, Failure> {
    let child = create::create(root, line)?;
    let started = start(root, line);
    if started.is_ok() && line.has("detach") {
        return Ok(0);
    }
    if started.is_err() {
        drop(sys::exec::send_signal(child.pidfd.as_fd(), Signal::KILL.number()));
    }
    let status = await_end(child.pid)?;
    delete(root, line)?;
    started.map(|()| status)
}

/// Prints the processes of the container.
pub fn processes(root: &Path, line: &Line) -> Result<(), Failure> {
    let id = line.id()?;
    let (container, _): (Container, _) = Place::of(root, id).load(id)?;
    if line.option("format") != Some("json") {
        return Err(Failure::refused("ps is supported with --format json only"));
    }
    let cgroups = detect()?;
    print(&json!(cgroups.group(&container.cgroups_path).members()))
}
