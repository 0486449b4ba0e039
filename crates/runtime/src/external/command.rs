//! One more program in a container another runtime made.
//!
//! The runner enters the shim's mount namespace, where the runtime's container is known, and becomes the parent of the
//! program when the runtime's `exec --detach` has left it.

use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio as Io;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{PidfdFlags, pidfd_open};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use sys::spawn::Spawned;

use super::area::{self, AREA};
use super::container::{adopt, find_program, named, runtime};
use crate::account;
use crate::exec::wire::{Command, Report};
use crate::init::command::{Daemon, NOT_RUN, await_end, hand_over, init, process, take};
use crate::init::{During, Failure, terminal};
use crate::oci::Spec;
use crate::record::names;
use crate::signal::Signal;

/// Files of one command in the area; removed when dropped.
struct Files {
    process: PathBuf,
    pid: PathBuf,
    console: PathBuf,
}

impl Files {
    fn new() -> Self {
        let place = |what: &str| Path::new(AREA).join(format!("exec-{}.{what}", std::process::id()));
        Self {
            process: place("json"),
            pid: place("pid"),
            console: place("sock"),
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for path in [&self.process, &self.pid, &self.console] {
            // Not all of them were made.
            drop(fs::remove_file(path));
        }
    }
}

/// Runs the daemon's command; returns its status, or 128 + its signal.
pub(crate) fn exec(
    spec: &Spec,
    mut daemon: Daemon,
    command: Command,
    fds: Vec<OwnedFd>,
) -> Result<i32, Failure> {
    let (child, terminal) = match start(spec, command, fds) {
        Ok(started) => started,
        Err(failure) => {
            daemon.report(&Report::Failed(base::chain(&failure)), None)?;
            return Ok(NOT_RUN);
        }
    };
    if daemon.report(&Report::Started, terminal.as_ref()).is_err() {
        // Nobody is left to end it later.
        drop(sys::exec::send_signal(child.pidfd.as_fd(), Signal::KILL.number()));
    }
    drop(terminal);
    daemon.attend(child.pidfd.as_fd())?;
    await_end(child.pid)
}

fn start(spec: &Spec, command: Command, fds: Vec<OwnedFd>) -> Result<(Spawned, Option<OwnedFd>), Failure> {
    let runtime = runtime(named(spec).unwrap_or_default())?;
    let here = std::env::current_dir().during("find the instance's directory")?;
    // Also tells a container that has ended.
    drop(init()?);
    enter_area(&here)?;
    let files = Files::new();
    let size = command.terminal;
    let root = account::open_root(&area::rootfs())?;
    let process = process(spec, command, Some(root.as_fd()))?;
    find_program(&process, &area::rootfs())?;
    let json = serde_json::to_vec(&process).map_err(std::io::Error::from);
    crate::record::write_whole(&files.process, &json.during("write the command")?)
        .during("write the command")?;
    let (process_file, pid_file) = (files.process.to_string_lossy(), files.pid.to_string_lossy());
    let console = files.console.to_string_lossy();
    let mut args = vec!["--detach", "--process", &process_file, "--pid-file", &pid_file];
    if size.is_some() {
        args.extend(["--console-socket", &console]);
        let listener = UnixListener::bind(&files.console).during("listen for the terminal")?;
        runtime.call("exec", &args)?;
        let master = receive_terminal(&listener)?;
        if let Some(size) = size {
            terminal::resize(master.as_fd(), size).during("set the size of the terminal")?;
        }
        return Ok((adopt(&files.pid, spec)?, Some(master)));
    }
    let stdio = take(fds)?;
    let uid = area::on_host(&spec.linux.uid_mappings, process.user.uid);
    let gid = area::on_host(&spec.linux.gid_mappings, process.user.gid);
    for fd in stdio.fds() {
        hand_over(fd, uid, gid)?;
    }
    let io = [
        Io::from(stdio.stdin),
        Io::from(stdio.stdout),
        Io::from(stdio.stderr),
    ];
    runtime.call_with("exec", &args, io)?;
    Ok((adopt(&files.pid, spec)?, None))
}

/// Enters the shim's mount namespace, and the instance's directory there.
fn enter_area(here: &Path) -> Result<(), Failure> {
    let step = "enter the shim's view of the cell";
    let stream = UnixStream::connect(names::SOCKET).during(step)?;
    // While the connection is open, the number is the shim's.
    let shim = rustix::net::sockopt::socket_peercred(&stream).during(step)?.pid;
    let shim = pidfd_open(shim, PidfdFlags::empty()).during(step)?;
    move_into_thread_name_spaces(shim.as_fd(), ThreadNameSpaceType::MOUNT).during(step)?;
    std::env::set_current_dir(here).during(step)
}

/// The runtime has sent it before it ended.
fn receive_terminal(listener: &UnixListener) -> Result<OwnedFd, Failure> {
    let step = "receive the terminal";
    listener.set_nonblocking(true).during(step)?;
    let (stream, _) = listener.accept().during(step)?;
    let (mut name, mut space) = (
        [0; 4096],
        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))],
    );
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(&stream, &mut [IoSliceMut::new(&mut name)], &mut control, flags).during(step)?;
    let mut fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let master = fds.next().and_then(|mut fds| fds.next());
    master.ok_or_else(|| Failure::refused("the runtime sent no terminal"))
}
