//! Running one more program in a container that runs: its own short-lived process, with the rights of the first
//! program and under the same limits and filter.
//!
//! ```text
//! daemon ── spawn ──▶ runner ── joins the groups, then all namespaces ── clone ──▶ program
//! ```
//!
//! The runner stays outside the container's pid namespace, is not dumpable, and holds nothing of the host but the
//! socket to the daemon. When either dies, the program is killed.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Gid, Uid, fchown, fstat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use sys::spawn::Spawned;

use super::program::{Program, Tie};
use super::terminal::{self, Terminal};
use super::{During, Failure, Stdio, become_root};
use crate::account::{self, Account};
use crate::cgroup::Cgroups;
use crate::exec::wire::{self, Command, Inbox, Order, Report};
use crate::oci::{Process, Spec};
use crate::protocol::{Reply, Request};
use crate::record::names;
use crate::rules;
use crate::signal::Signal;

/// Status of a program that could not be run, as shells have it.
pub(crate) const NOT_RUN: i32 = 127;

/// The daemon's end of the conversation: standard input.
pub(crate) struct Daemon {
    socket: OwnedFd,
    inbox: Inbox,
}

impl Daemon {
    /// Takes the standard input.
    pub fn connect() -> Result<Self, Failure> {
        let socket = rustix::stdio::stdin().try_clone_to_owned();
        Ok(Self {
            socket: socket.during("copy the socket to the daemon")?,
            inbox: Inbox::default(),
        })
    }

    /// The command, and the descriptors that came with it.
    pub fn command(&mut self) -> Result<(Command, Vec<OwnedFd>), Failure> {
        let command = self.inbox.next(self.socket.as_fd()).during("read the command")?;
        let command = command.ok_or_else(|| Failure::refused("the daemon went away"))?;
        Ok((command, std::mem::take(&mut self.inbox.fds)))
    }

    /// Reports, with the terminal if there is one.
    pub fn report(&self, report: &Report, terminal: Option<&OwnedFd>) -> Result<(), Failure> {
        let fds: Vec<BorrowedFd<'_>> = terminal.into_iter().map(AsFd::as_fd).collect();
        wire::tell(self.socket.as_fd(), report, &fds).during("report to the daemon")
    }

    /// Passes signals on to the process behind `pidfd` until that has ended; kills it when the daemon is gone.
    pub fn attend(&mut self, pidfd: BorrowedFd<'_>) -> Result<(), Failure> {
        let mut listening = true;
        loop {
            let mut fds = vec![PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
            if listening {
                fds.push(PollFd::new(&self.socket, PollFlags::IN));
            }
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                polled => polled.during("wait for the program")?,
            };
            let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
            if ready(0) {
                return Ok(());
            }
            if ready(1) {
                let number = match self.inbox.next(self.socket.as_fd()) {
                    Ok(Some(Order::Signal(number))) => number,
                    Ok(None) | Err(_) => {
                        listening = false;
                        Signal::KILL.number()
                    }
                };
                // It may have ended meanwhile.
                drop(sys::exec::send_signal(pidfd, number));
            }
        }
    }
}

/// Runs a command of the daemon in the instance of the working directory; returns its status, or 128 + its signal.
pub(crate) fn run(mut spec: Spec) -> Result<i32, Failure> {
    let mut daemon = Daemon::connect()?;
    let (command, fds) = daemon.command()?;
    let started = if spec.annotations.contains_key(rules::RUNTIME) {
        return crate::external::exec(&spec, daemon, command, fds);
    } else {
        start(&mut spec, command, fds)
    };
    let (child, terminal) = match started {
        Ok(started) => started,
        Err(failure) => {
            daemon.report(&Report::Failed(base::chain(&failure)), None)?;
            return Ok(NOT_RUN);
        }
    };
    daemon.report(&Report::Started, terminal.as_ref())?;
    drop(terminal);
    daemon.attend(child.pidfd.as_fd())?;
    await_end(child.pid)
}

/// Starts the command; the runner is inside afterwards.
fn start(
    spec: &mut Spec,
    command: Command,
    fds: Vec<OwnedFd>,
) -> Result<(Spawned, Option<OwnedFd>), Failure> {
    // The program is for a moment a copy of this process, with these arguments, that others inside can see.
    sys::exec::set_title("exec").during("set the process title")?;
    let filter = crate::seccomp::of(spec).map_err(|e| Failure::refused(base::chain(&e)))?;
    let maps = (&spec.linux.uid_mappings, &spec.linux.gid_mappings);
    let first = |maps: &[crate::oci::IdMapping]| maps.first().map_or(0, |map| map.host_id);
    for fd in &fds {
        hand_over(fd.as_fd(), first(maps.0), first(maps.1))?;
    }
    enter(spec)?;
    become_root()?;
    super::tie_to_parent()?;
    super::leave_keyring()?;
    let size = command.terminal;
    let process = process(spec, command, None)?;
    let (stdio, master) = match size {
        Some(size) => {
            let root = account::open_root("/".as_ref())?;
            let Terminal { master, slave } = terminal::open(root.as_fd(), process.user.uid, Some(size))?;
            (Stdio::all(slave)?, Some(master))
        }
        None => (take(fds)?, None),
    };
    if master.is_none() {
        for fd in stdio.fds() {
            hand_over(fd, process.user.uid, process.user.gid)?;
        }
    }
    let child = Program::new(&process)?.spawn(filter.as_deref(), &stdio, Tie::ToParent)?;
    Ok((child, master))
}

/// The container's program with another command: whom it runs as is looked up below `root`, else the caller's own.
pub(crate) fn process(
    spec: &Spec,
    command: Command,
    root: Option<BorrowedFd<'_>>,
) -> Result<Process, Failure> {
    let mut process = spec.process.clone();
    let earlier = spec
        .annotations
        .get(rules::USER)
        .filter(|_| command.user.is_empty());
    let wanted = earlier.unwrap_or(&command.user);
    let account = if wanted.is_empty() && earlier.is_none() {
        Account {
            uid: process.user.uid,
            gid: process.user.gid,
            groups: process.user.additional_gids.clone(),
            home: "/".to_owned(),
            name: String::new(),
        }
    } else {
        let own;
        let root = match root {
            Some(root) => root,
            None => {
                own = account::open_root("/".as_ref())?;
                own.as_fd()
            }
        };
        let account = account::resolve(root, wanted, &spec.linux.uid_mappings)?;
        if earlier.is_none() {
            let defaults = spec
                .annotations
                .get(rules::DEFAULT_ENV)
                .map_or("", String::as_str);
            process.env = rules::environment_without(&process.env, defaults);
        }
        account
    };
    process.args = command.argv;
    process.env.extend(command.env);
    process.env = rules::environment_with_defaults(&process.env, account.uid, &account.name, &account.home);
    process.capabilities = rules::with_bounding(process.capabilities.bounding, account.uid);
    process.user = account.ids();
    process.terminal = command.terminal.is_some();
    process.console_size = command.terminal;
    if !command.cwd.is_empty() {
        process.cwd = command.cwd;
    }
    Ok(process)
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
pub(crate) fn init() -> Result<OwnedFd, Failure> {
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

/// The descriptors that came with the command.
pub(crate) fn take(fds: Vec<OwnedFd>) -> Result<Stdio, Failure> {
    let [stdin, stdout, stderr] = <[OwnedFd; 3]>::try_from(fds)
        .map_err(|_| Failure::refused("the command came without its three descriptors"))?;
    Ok(Stdio {
        stdin,
        stdout,
        stderr,
    })
}

/// Gives a pipe to a user, who may then open /dev/stdout again. Device nodes of the host never go inside.
pub(crate) fn hand_over(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<(), Failure> {
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

/// Reaps a child; its status, or 128 + its signal.
pub(crate) fn await_end(child: Pid) -> Result<i32, Failure> {
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
