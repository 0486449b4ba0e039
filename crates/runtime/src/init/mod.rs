//! Pid 1 of a container: from a bare clone of the shim to a reaper of orphans.
//!
//! ```text
//! clone ─ wait: id maps written, cgroups joined ─ become root inside ─ mounts ─ pivot ─ hostname, lo, settings
//!       ─ "ready" ─ wait: start ─ clone the program ─ drop every right ─ reap until it ends
//! ```
//!
//! It never resolves a path of the host: what it needs from there comes as descriptors the shim opened. It is a clone
//! that never execs and is not dumpable, so nothing inside can trace it, read its memory or reach the platform's
//! binary through it. When the shim dies the kernel kills it, and with it everything in the container.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Signal as RawSignal, WaitOptions, set_dumpable_behavior,
    set_parent_process_death_signal, wait,
};
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use sys::seccomp::Instruction;

use crate::cgroup::Hierarchy;
use crate::oci;

pub(crate) mod channel;
pub(crate) mod command;
mod dev;
mod failure;
mod groups;
pub(crate) mod inside;
pub(crate) mod mounts;
mod network;
pub(crate) mod options;
mod paths;
pub(crate) mod program;
pub(crate) mod rights;
pub(crate) mod terminal;
pub(crate) mod trees;

use channel::{FromInit, ToInit};
pub(crate) use failure::{During, Failure};
use trees::Trees;

/// What pid 1 gets from the shim.
pub(crate) struct Init<'a> {
    pub spec: &'a oci::Spec,
    /// The filter every process inside runs under.
    pub filter: Option<&'a [Instruction]>,
    /// Whose view the container gets under /sys/fs/cgroup.
    pub hierarchies: &'a [Hierarchy],
    /// To the shim.
    pub control: OwnedFd,
    pub trees: Trees,
    pub stdio: Stdio,
}

/// The program's standard descriptors.
pub(crate) struct Stdio {
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

impl Stdio {
    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; 3] {
        [self.stdin.as_fd(), self.stdout.as_fd(), self.stderr.as_fd()]
    }

    /// One for all three, such as a terminal.
    pub(crate) fn all(terminal: OwnedFd) -> Result<Self, Failure> {
        let copy = || terminal.try_clone().during("copy a descriptor");
        Ok(Self {
            stdin: copy()?,
            stdout: copy()?,
            stderr: terminal,
        })
    }

    /// Keeps the numbers 0 to 2 from being given to anything else in pid 1: it holds the dead end of the program's
    /// input there.
    pub(crate) fn occupy_standard(&self) -> Result<(), rustix::io::Errno> {
        rustix::stdio::dup2_stdin(&self.stdin)?;
        rustix::stdio::dup2_stdout(&self.stdin)?;
        rustix::stdio::dup2_stderr(&self.stdin)
    }
}

impl Init<'_> {
    /// The descriptors pid 1 keeps.
    pub fn keep(&self) -> Vec<RawFd> {
        let own = [self.control.as_fd()]
            .into_iter()
            .chain(self.stdio.fds())
            .chain(self.trees.fds());
        own.map(|fd| fd.as_raw_fd()).collect()
    }

    /// Runs pid 1 to its end; returns its exit status.
    pub fn run(self) -> i32 {
        let control = self.control.as_fd().try_clone_to_owned();
        match self.prepare_and_run() {
            Ok(status) => status,
            Err(failure) => {
                if let Ok(control) = control {
                    // The shim may be gone; then nobody is left to tell.
                    drop(channel::send(
                        control.as_fd(),
                        &FromInit::Failed(base::chain(&failure)),
                        None,
                    ));
                }
                127
            }
        }
    }

    fn prepare_and_run(self) -> Result<i32, Failure> {
        self.stdio
            .occupy_standard()
            .during("set the standard descriptors")?;
        expect(self.control.as_fd(), &ToInit::Mapped)?;
        // What `ps` shows inside must not be the shim's arguments.
        sys::exec::set_title("init").during("set the process title")?;
        rustix::thread::set_name(c"init").during("set the process name")?;
        mounts::attach_root(&self.trees)?;
        become_root()?;
        tie_to_parent()?;
        sys::spawn::unshare_cgroup().during("make the cgroup namespace")?;
        mounts::build(self.spec, &self.trees, self.hierarchies, |_| Ok(()))?;
        drop(self.trees);
        name_host(self.spec)?;
        leave_keyring()?;
        let program = program::Program::new(&self.spec.process)?;
        let user = &self.spec.process.user;
        for fd in self.stdio.fds() {
            // Programs that open /dev/stdout again need to own the pipe behind it.
            let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
            rustix::fs::fchown(fd, Some(uid), Some(gid)).during("hand over the output pipes")?;
        }
        channel::send(self.control.as_fd(), &FromInit::Ready, None).during("report to the shim")?;
        expect(self.control.as_fd(), &ToInit::Start)?;
        let app = program.spawn(self.filter, &self.stdio, program::Tie::ToParent)?;
        drop(self.stdio);
        rights::give_up_all(self.filter)?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable).during("stay untraceable")?;
        channel::send(self.control.as_fd(), &FromInit::Started, Some(app.pidfd.as_fd()))
            .during("report the start")?;
        drop(app.pidfd);
        reap(app.pid, self.control.as_fd())
    }
}

/// Ends the caller when its parent ends. Changing ids resets this.
pub(crate) fn tie_to_parent() -> Result<(), Failure> {
    set_parent_process_death_signal(Some(RawSignal::KILL)).during("tie the container to its shim")
}

/// Sets the names of the uts namespace.
pub(crate) fn name_host(spec: &oci::Spec) -> Result<(), Failure> {
    if !spec.hostname.is_empty() {
        rustix::system::sethostname(spec.hostname.as_bytes()).during("set the hostname")?;
    }
    if !spec.domainname.is_empty() {
        rustix::system::setdomainname(spec.domainname.as_bytes()).during("set the domain name")?;
    }
    Ok(())
}

/// Leaves the session keyring of whoever started the platform, which processes inside would else possess.
pub(crate) fn leave_keyring() -> Result<(), Failure> {
    match sys::keyring::join_anonymous_session() {
        // A kernel without keyrings has none to leave.
        Err(error) if error.raw_os_error() == Some(Errno::NOSYS.raw_os_error()) => Ok(()),
        joined => joined.during("join a keyring of its own"),
    }
}

/// Waits for the shim's next word. Its death ends this process at the latest here.
pub(crate) fn expect(control: BorrowedFd<'_>, wanted: &ToInit) -> Result<(), Failure> {
    match channel::receive_order(control).during("hear from the shim")? {
        Some(order) if order == *wanted => Ok(()),
        _ => Err(Failure::refused("the shim went away")),
    }
}

/// Id 0 inside, with every right over the new namespaces; untraceable.
pub(crate) fn become_root() -> Result<(), Failure> {
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).during("become group 0 inside")?;
    set_thread_groups(&[]).during("drop the host's groups")?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).during("become user 0 inside")?;
    // Changing ids resets this.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).during("become untraceable")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    Ok(())
}

/// Reaps until the program ends, and reports how. What else runs inside is killed by the kernel when pid 1 ends.
fn reap(app: rustix::process::Pid, control: BorrowedFd<'_>) -> Result<i32, Failure> {
    loop {
        let Some((pid, status)) = wait(WaitOptions::empty()).during("wait for processes")? else {
            continue;
        };
        if pid != app {
            continue;
        }
        let exited = FromInit::Exited {
            status: status.exit_status(),
            signal: status.terminating_signal(),
        };
        channel::send(control, &exited, None).during("report the exit")?;
        return Ok(0);
    }
}
