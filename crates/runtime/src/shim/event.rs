//! The shim's loop.
//!
//! ```text
//! Created ──start──▶ Starting ──program runs──▶ Running
//!    └──────────────────┴───── pid 1 ends ────────┴──▶ the loop ends, see `finish`
//! ```

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use base::Clock;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use sys::spawn::Spawned;

use super::clients::Clients;
use super::output::Output;
use super::setup::{Made, Maker};
use crate::cgroup::Group;
use crate::init::channel::{self, FromInit, ToInit};
use crate::init::{During, Failure};
use crate::log::LogWriter;
use crate::protocol::{Reply, Request};
use crate::record::ExitCause;
use crate::signal::Signal;

/// Where the container is in its life.
enum Phase {
    /// Made; nothing of the image has run.
    Created,
    /// Pid 1 was told to run the program; these clients wait to hear.
    Starting(Vec<u64>),
    /// The program runs.
    Running {
        /// Refers to the program.
        app: OwnedFd,
        /// Nanoseconds since 1970.
        started_at: i64,
    },
}

/// A shim whose container is made.
pub(super) struct Shim {
    pub(super) init: Spawned,
    pub(super) maker: Maker,
    pub(super) output: Output,
    pub(super) clients: Clients,
    pub(super) clock: base::SystemClock,
    phase: Phase,
    /// What ended the container, once pid 1 has said so.
    pub(super) cause: Option<ExitCause>,
}

/// What a poll found ready.
struct Ready {
    listener: bool,
    control: bool,
    init: bool,
    output: bool,
    clients: bool,
}

impl Shim {
    pub fn new(made: Made, listener: UnixListener) -> Self {
        Self {
            init: made.init,
            maker: made.maker,
            output: Output::new(made.outputs, LogWriter::new(Path::new("."))),
            clients: Clients::new(listener),
            clock: base::SystemClock,
            phase: Phase::Created,
            cause: None,
        }
    }

    /// Serves until the container has ended, then records how.
    pub fn run(mut self, group: &Group<'_>) -> Result<(), Failure> {
        loop {
            let ready = self.poll().during("wait for something to do")?;
            if ready.output && self.output.pump() {
                self.clients.nudge();
            }
            if ready.control {
                self.hear()?;
            }
            if ready.listener {
                self.clients.accept();
            }
            if ready.clients {
                for (client, request) in self.clients.requests() {
                    self.answer(client, request);
                }
            }
            if ready.init {
                return self.finish(group);
            }
        }
    }

    fn poll(&self) -> Result<Ready, Errno> {
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.clients.listener(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.init.pidfd.as_fd(), PollFlags::IN),
        ];
        // Once pid 1 has said its last word its end is closed, and poll(2) tells a hang-up whatever is asked for: it
        // would be "ready" for ever. Its place is kept by what is looked at anyway.
        let control = match (&self.maker, &self.cause) {
            (Maker::Own(control), None) => control.as_fd(),
            _ => self.init.pidfd.as_fd(),
        };
        fds.push(PollFd::from_borrowed_fd(control, PollFlags::IN));
        let outputs = fds.len();
        fds.extend(
            self.output
                .fds()
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)),
        );
        let clients = fds.len();
        fds.extend(self.clients.fds().map(|(fd, unsent)| {
            let flags = if unsent {
                PollFlags::IN | PollFlags::OUT
            } else {
                PollFlags::IN
            };
            PollFd::from_borrowed_fd(fd, flags)
        }));
        match poll(&mut fds, None) {
            Err(Errno::INTR) => {}
            polled => drop(polled?),
        }
        let any = |range: &[PollFd<'_>]| range.iter().any(|fd| !fd.revents().is_empty());
        let at = |from: usize, to: usize| fds.get(from..to).is_some_and(any);
        Ok(Ready {
            listener: at(0, 1),
            init: at(1, 2),
            control: self.cause.is_none() && matches!(self.maker, Maker::Own(_)) && at(2, 3),
            output: at(outputs, clients),
            clients: at(clients, fds.len()),
        })
    }

    /// Takes one report of pid 1.
    pub(super) fn hear(&mut self) -> Result<(), Failure> {
        let Maker::Own(control) = &self.maker else {
            return Ok(());
        };
        let report = channel::receive_report(control.as_fd()).during("hear from the container's init")?;
        match report {
            Some((FromInit::Started, Some(app))) => {
                let started_at = base::unix_nanos(self.clock.now());
                let started = Phase::Running { app, started_at };
                if let Phase::Starting(waiting) = std::mem::replace(&mut self.phase, started) {
                    let reply = self.reply(None);
                    waiting
                        .into_iter()
                        .for_each(|client| self.clients.reply(client, &reply));
                }
            }
            Some((FromInit::Failed(reason), _)) => self.fail(reason),
            Some((FromInit::Exited { status, signal }, _)) => {
                let signal = signal.and_then(|number| Signal::from_number(number).ok());
                self.cause = Some(match (status, signal) {
                    (Some(status), _) => ExitCause::Status(status),
                    (None, signal) => ExitCause::Signal(signal.unwrap_or(Signal::KILL)),
                });
            }
            // It died without a word; its pidfd tells.
            None => self.cause = Some(ExitCause::Signal(Signal::KILL)),
            Some((FromInit::Ready | FromInit::Started, _)) => {}
        }
        Ok(())
    }

    /// The program could not be run: pid 1 ends, and whoever asked for it hears why.
    pub(super) fn fail(&mut self, reason: String) {
        if let Phase::Starting(waiting) = std::mem::replace(&mut self.phase, Phase::Created) {
            let reply = Reply {
                start_failed: true,
                ..self.reply(Some(reason.clone()))
            };
            waiting
                .into_iter()
                .for_each(|client| self.clients.reply(client, &reply));
        }
        self.cause = Some(ExitCause::NotStarted(reason));
    }

    /// Whether clients wait for a program that has not been heard of.
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Starting(_))
    }

    fn answer(&mut self, client: u64, request: Result<Request, String>) {
        let error = match request {
            Err(error) => Some(error),
            Ok(Request::State | Request::Subscribe) => None,
            Ok(Request::Start) => match self.start(client) {
                Ok(answered) if !answered => return,
                Ok(_) => None,
                Err(error) => Some(error),
            },
            Ok(Request::Signal { number }) => self.signal(number).err(),
            Ok(Request::Kill) => {
                let killed = self.kill();
                killed
                    .err()
                    .map(|error| format!("cannot kill the container: {error}"))
            }
        };
        let reply = self.reply(error);
        self.clients.reply(client, &reply);
    }

    /// Returns whether the client can be answered at once.
    fn start(&mut self, client: u64) -> Result<bool, String> {
        match (&mut self.phase, &self.maker) {
            (Phase::Running { .. }, _) => return Ok(true),
            (Phase::Starting(waiting), _) => waiting.push(client),
            (Phase::Created, Maker::Own(control)) => {
                channel::order(control.as_fd(), &ToInit::Start)
                    .map_err(|error| format!("cannot reach the container's init: {error}"))?;
                self.phase = Phase::Starting(vec![client]);
            }
            (Phase::Created, Maker::Other(container)) => {
                let app = self.init.pidfd.try_clone().map_err(|error| error.to_string())?;
                if let Err(failure) = container.start() {
                    self.phase = Phase::Starting(vec![client]);
                    self.fail(base::chain(&failure));
                    drop(self.kill());
                    return Ok(false);
                }
                let started_at = base::unix_nanos(self.clock.now());
                self.phase = Phase::Running { app, started_at };
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Another runtime is asked first: what it made may be more than processes.
    fn kill(&self) -> std::io::Result<()> {
        let number = Signal::KILL.number();
        if let Maker::Other(container) = &self.maker
            && container.signal(number).is_ok()
        {
            return Ok(());
        }
        sys::exec::send_signal(self.init.pidfd.as_fd(), number)
    }

    fn signal(&self, number: i32) -> Result<(), String> {
        let Phase::Running { app, .. } = &self.phase else {
            return Err("its program is not running".to_owned());
        };
        if let Maker::Other(container) = &self.maker {
            return container
                .signal(number)
                .map_err(|failure| format!("cannot signal its program: {}", base::chain(&failure)));
        }
        sys::exec::send_signal(app.as_fd(), number)
            .map_err(|error| format!("cannot signal its program: {error}"))
    }

    fn reply(&self, error: Option<String>) -> Reply {
        let started_at = match self.phase {
            Phase::Running { started_at, .. } => Some(started_at),
            Phase::Created | Phase::Starting(_) => None,
        };
        Reply {
            error,
            start_failed: false,
            pid: self.init.pid.as_raw_nonzero().get(),
            started_at,
        }
    }
}
