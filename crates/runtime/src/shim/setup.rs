//! Making the container up to the point where its program can be started.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use sys::spawn::{Namespaces, Spawned, spawn};

use crate::cgroup::Cgroups;
use crate::external::{self, Container};
use crate::init::channel::{self, FromInit, ToInit};
use crate::init::trees::Trees;
use crate::init::{During, Failure, Init, Stdio};
use crate::log::Stream;
use crate::oci::{IdMapping, Spec};
use crate::signal::Signal;

/// Making the container takes milliseconds; a disk that hangs this long makes it fail.
const READY_WITHIN: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

/// A container whose program can be started.
pub(super) struct Made {
    pub init: Spawned,
    pub maker: Maker,
    pub outputs: [(Stream, OwnedFd); 2],
}

/// Who made the container and is to be asked for changes.
pub(super) enum Maker {
    /// Pid 1 is ours and listens here.
    Own(OwnedFd),
    /// Another runtime.
    Other(Container),
}

/// Makes cgroups, namespaces, and pid 1; on failure kills what was cloned and leaves the cgroups to the caller.
pub(super) fn make(spec: &Spec, cgroups: &Cgroups) -> Result<Made, Failure> {
    let filter = crate::seccomp::of(spec).map_err(|e| Failure::refused(base::chain(&e)))?;
    if let Some(program) = external::named(spec) {
        let (stdio, outputs) = pipes(spec)?;
        let (container, init) = Container::create(spec, program, stdio, cgroups)?;
        return Ok(Made {
            init,
            maker: Maker::Other(container),
            outputs,
        });
    }
    let group = cgroups.group(&spec.linux.cgroups_path);
    group.create(&spec.linux.resources).map_err(super::refused)?;
    let trees = Trees::open(spec)?;
    let (stdio, outputs) = pipes(spec)?;
    let (control, theirs) = channel::pair().during("make a pair of sockets")?;
    let init = Init {
        spec,
        filter: filter.as_deref(),
        hierarchies: cgroups.hierarchies(),
        control: theirs,
        trees,
        stdio,
    };
    let keep = init.keep();
    let init = spawn(Namespaces::Container, &keep, move || init.run()).during("clone into new namespaces")?;
    match bring_up(&init, &control, spec, cgroups) {
        Ok(()) => Ok(Made {
            init,
            maker: Maker::Own(control),
            outputs,
        }),
        Err(failure) => {
            destroy(&init);
            Err(failure)
        }
    }
}

fn bring_up(init: &Spawned, control: &OwnedFd, spec: &Spec, cgroups: &Cgroups) -> Result<(), Failure> {
    let pid = init.pid.as_raw_nonzero().get();
    write_map(pid, "uid_map", &spec.linux.uid_mappings)?;
    write_map(pid, "gid_map", &spec.linux.gid_mappings)?;
    // A daemon protected from the kernel's memory killer must not pass that on; lowering ours again may be refused.
    drop(fs::write(format!("/proc/{pid}/oom_score_adj"), "0"));
    cgroups
        .group(&spec.linux.cgroups_path)
        .enter(pid)
        .map_err(super::refused)?;
    channel::order(control.as_fd(), &ToInit::Mapped).during("speak to the container's init")?;
    await_ready(control)
}

pub(crate) fn await_ready(control: &OwnedFd) -> Result<(), Failure> {
    loop {
        let mut fds = [PollFd::new(control, PollFlags::IN)];
        match poll(&mut fds, Some(&READY_WITHIN)) {
            Err(Errno::INTR) => continue,
            Ok(0) => {
                return Err(Failure::refused(
                    "the container's init did not get ready within 30s",
                ));
            }
            polled => polled.during("wait for the container's init")?,
        };
        return match channel::receive_report(control.as_fd()).during("hear from the container's init")? {
            Some((FromInit::Ready, _)) => Ok(()),
            Some((FromInit::Failed(reason), _)) => Err(Failure::refused(reason)),
            _ => Err(Failure::refused("the container's init ended before it was ready")),
        };
    }
}

/// The program's descriptors and our ends of its output. Its input is a pipe at its end, never a node of the host.
fn pipes(spec: &Spec) -> Result<(Stdio, [(Stream, OwnedFd); 2]), Failure> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).during("make a pipe");
    let ((stdin, _), (out_reader, stdout), (err_reader, stderr)) = (pipe()?, pipe()?, pipe()?);
    let first = |maps: &[IdMapping]| maps.first().map_or(0, |map| map.host_id);
    let (uid, gid) = (first(&spec.linux.uid_mappings), first(&spec.linux.gid_mappings));
    for fd in [&stdin, &stdout, &stderr] {
        // Pid 1 passes them on to the program's user, which it may only when they belong to an id of the container.
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::fchown(fd, uid, gid).during("hand over the output pipes")?;
    }
    for reader in [&out_reader, &err_reader] {
        rustix::io::ioctl_fionbio(reader, true).during("make a pipe non-blocking")?;
    }
    let outputs = [(Stream::Stdout, out_reader), (Stream::Stderr, err_reader)];
    Ok((
        Stdio {
            stdin,
            stdout,
            stderr,
        },
        outputs,
    ))
}

pub(crate) fn write_map(pid: i32, file: &str, maps: &[IdMapping]) -> Result<(), Failure> {
    let lines: Vec<String> = maps
        .iter()
        .map(|map| format!("{} {} {}", map.container_id, map.host_id, map.size))
        .collect();
    fs::write(format!("/proc/{pid}/{file}"), lines.join("\n")).during(format!("write the container's {file}"))
}

/// Kills pid 1, and with it everything in its pid namespace, and reaps it.
fn destroy(init: &Spawned) {
    drop(sys::exec::send_signal(init.pidfd.as_fd(), Signal::KILL.number()));
    while let Err(Errno::INTR) = waitid(WaitId::PidFd(init.pidfd.as_fd()), WaitIdOptions::EXITED) {}
}
