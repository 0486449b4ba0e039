//! The container's process, from the clone to the program.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use sys::seccomp::Instruction;

use crate::account;
use crate::cgroup::Hierarchy;
use crate::init::channel::{self, FromInit, ToInit};
use crate::init::program::{Program, Tie};
use crate::init::trees::Trees;
use crate::init::{During, Failure, Stdio, become_root, expect, leave_keyring, mounts, name_host, terminal};
use crate::oci::{Process, Spec};

/// What the process gets from its maker.
pub struct Inside<'a> {
    /// The bundle.
    pub spec: &'a Spec,
    /// Its filter.
    pub filter: Option<&'a [Instruction]>,
    /// Whose view is shown under /sys/fs/cgroup.
    pub hierarchies: &'a [Hierarchy],
    /// To the maker.
    pub control: OwnedFd,
    /// `start` connects here.
    pub listener: OwnedFd,
    /// Gets the terminal.
    pub console: Option<OwnedFd>,
    /// Mounts of the host.
    pub trees: Trees,
    /// Standard descriptors, unless there is a terminal.
    pub stdio: Stdio,
    /// Stay in the session keyring.
    pub keep_keyring: bool,
}

impl Inside<'_> {
    /// The descriptors the process keeps.
    pub fn keep(&self) -> Vec<RawFd> {
        let own = [self.control.as_fd(), self.listener.as_fd()].into_iter();
        own.chain(self.console.as_ref().map(AsFd::as_fd))
            .chain(self.stdio.fds())
            .chain(self.trees.fds())
            .map(|fd| fd.as_raw_fd())
            .collect()
    }

    /// Runs to the end, which is a failure: the program takes the place of this.
    pub fn run(self) -> i32 {
        let control = self.control.as_fd().try_clone_to_owned();
        let failure = match self.prepare_and_become() {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        if let Ok(control) = control {
            // Whoever made this may be gone; then `start` has been told.
            let report = FromInit::Failed(base::chain(&failure));
            drop(channel::send(control.as_fd(), &report, None));
        }
        127
    }

    fn prepare_and_become(self) -> Result<std::convert::Infallible, Failure> {
        let spec = self.spec;
        // Numbers 0 to 2 must not be given to anything of ours.
        self.stdio
            .occupy_standard()
            .during("set the standard descriptors")?;
        expect(self.control.as_fd(), &ToInit::Mapped)?;
        sys::exec::set_title("init").during("set the process title")?;
        mounts::attach_root(&self.trees)?;
        become_root()?;
        if spec.linux.makes("cgroup") {
            sys::spawn::unshare_cgroup().during("make the cgroup namespace")?;
        }
        let console = self.console.filter(|_| spec.process.terminal);
        let slave = mounts::build(spec, &self.trees, self.hierarchies, |root| {
            let Some(console) = &console else {
                return Ok(None);
            };
            let pair = terminal::open(root, spec.process.user.uid, spec.process.console_size)?;
            terminal::show_console(root, &pair)?;
            terminal::send(console.as_fd(), &pair.master)?;
            Ok(Some(pair.slave))
        })?;
        drop((console, self.trees));
        name_host(spec)?;
        if !self.keep_keyring {
            leave_keyring()?;
        }
        let stdio = match slave {
            Some(slave) => Stdio::all(slave)?,
            None => self.stdio,
        };
        let process = with_home(&spec.process)?;
        let program = Program::new(&process)?;
        channel::send(self.control.as_fd(), &FromInit::Ready, None).during("report to the maker")?;
        drop(self.control);
        let mut starter = accept(self.listener)?;
        let failure = match program.become_program(self.filter, &stdio, Tie::Nobody) {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        // The starter may be gone; the status tells, too.
        drop(starter.write_all(base::chain(&failure).as_bytes()));
        Err(failure)
    }
}

/// Waits for `start`. Its socket closes without a word when the program takes over.
fn accept(listener: OwnedFd) -> Result<UnixStream, Failure> {
    let listener = UnixListener::from(listener);
    loop {
        let (mut starter, _) = listener.accept().during("wait for the start")?;
        let mut word = [0; 1];
        // One that connects and leaves has not started anything.
        if starter.read(&mut word).is_ok_and(|count| count == 1) {
            return Ok(starter);
        }
    }
}

/// The process with HOME, which programs expect and no engine sets.
pub fn with_home(process: &Process) -> Result<Process, Failure> {
    let mut process = process.clone();
    if !process.env.iter().any(|entry| entry.starts_with("HOME=")) {
        let root = account::open_root("/".as_ref())?;
        let home = account::home_of(root.as_fd(), process.user.uid).unwrap_or_else(|| "/".to_owned());
        process.env.push(format!("HOME={home}"));
    }
    Ok(process)
}
