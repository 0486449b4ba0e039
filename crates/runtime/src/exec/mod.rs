//! Running one more program in a running container.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use rustix::net::{SendFlags, send};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::process::{Child, Command};

use crate::error::{Error, file};
use crate::oci::ConsoleSize;
use crate::protocol::Request;
use crate::runtime::Runtime;
use crate::signal::Signal;
use crate::spec::{ExecSpec, WindowSize};

mod stream;
pub(crate) mod wire;

pub use stream::{ExecInput, ExecOutput};
use wire::{Inbox, Order, Report};

/// A program starts in milliseconds, but may have to be read from a cold disk.
const STARTED_WITHIN: Duration = Duration::from_secs(30);

/// The word that makes a shim run one more program instead of holding a container.
pub(crate) const RUNNER: &str = "exec";

/// A program that runs beside a container's own. Dropping the handle kills it: its runner sees the socket close.
#[derive(Debug)]
pub struct ExecHandle {
    /// The program's standard input.
    pub stdin: Option<ExecInput>,
    /// Its standard output; with a terminal all it writes. Ends when the last process that could write has ended.
    pub output: ExecOutput,
    /// Its standard error; absent with a terminal.
    pub errors: Option<ExecOutput>,
    terminal: Option<OwnedFd>,
    control: UnixStream,
    runner: Child,
    id: String,
}

/// Our ends of the program's descriptors.
struct Ends {
    stdin: OwnedFd,
    output: OwnedFd,
    errors: Option<OwnedFd>,
}

impl Runtime {
    /// Runs a program beside the container's own, with the same rights, limits and filter; returns when its own code
    /// runs. It ends with the handle, with this process, and with the container.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::State`] when the container's program does not run; [`Error::Start`] with a reason
    /// for the user when it cannot be run.
    pub async fn exec(&self, id: &str, spec: ExecSpec) -> Result<ExecHandle, Error> {
        spec.check()?;
        if self
            .inner
            .request(id, &Request::State)
            .await?
            .started_at
            .is_none()
        {
            return Err(Error::State {
                id: id.to_owned(),
                reason: "its program is not running".to_owned(),
            });
        }
        let lost = |source: io::Error| Error::Connection {
            id: id.to_owned(),
            source,
        };
        let (control, theirs) = UnixStream::pair().map_err(lost)?;
        let runner = self.spawn_runner(id, theirs)?;
        let with_terminal = spec.terminal.is_some();
        let talk = control.try_clone().map_err(lost)?;
        // Blocking calls with a bound: the answer comes with descriptors, which async sockets cannot receive.
        let answered = tokio::task::spawn_blocking(move || hand_over(&talk, spec)).await;
        let (report, ends) = match answered {
            Ok(answered) => answered.map_err(lost)?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        if let Report::Failed(reason) = report {
            return Err(Error::Start { reason });
        }
        let terminal = if with_terminal {
            Some(ends.stdin.try_clone().map_err(lost)?)
        } else {
            None
        };
        Ok(ExecHandle {
            stdin: Some(ExecInput::new(ends.stdin).map_err(lost)?),
            output: ExecOutput::new(ends.output).map_err(lost)?,
            errors: ends.errors.map(ExecOutput::new).transpose().map_err(lost)?,
            terminal,
            control,
            runner,
            id: id.to_owned(),
        })
    }

    fn spawn_runner(&self, id: &str, control: UnixStream) -> Result<Child, Error> {
        let dir = self.inner.dir(id);
        let (program, args) = self.inner.shim_command()?;
        let mut runner = Command::new(program);
        runner
            .args(args)
            .arg(&dir)
            .arg(RUNNER)
            .env_clear()
            .current_dir(&dir);
        runner.stdin(Stdio::from(OwnedFd::from(control)));
        runner.stdout(Stdio::null()).stderr(Stdio::null());
        file(runner.spawn(), "run", program)
    }
}

impl ExecHandle {
    /// Waits for the program to end; returns its status, or 128 + n when it died of signal n. 137 when its runner was
    /// killed. Cancel-safe.
    ///
    /// # Errors
    /// When the kernel refuses to say.
    pub async fn wait(&mut self) -> Result<i32, Error> {
        let status = self.runner.wait().await.map_err(|error| self.lost(error))?;
        Ok(status.code().unwrap_or(128 + Signal::KILL.number()))
    }

    /// Tells the program that its terminal has another size now; nothing without a terminal.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn resize(&self, size: WindowSize) -> Result<(), Error> {
        match &self.terminal {
            Some(terminal) => crate::init::terminal::resize(terminal.as_fd(), console_size(size))
                .map_err(|error| self.lost(error.into())),
            None => Ok(()),
        }
    }

    /// Sends the program a signal; nothing when it has ended.
    ///
    /// # Errors
    /// When its runner does not listen.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        let mut line =
            serde_json::to_vec(&Order::Signal(signal.number())).map_err(|error| self.lost(error.into()))?;
        line.push(b'\n');
        match send(&self.control, &line, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(_) | Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => Ok(()),
            Err(error) => Err(self.lost(error.into())),
        }
    }

    fn lost(&self, source: io::Error) -> Error {
        Error::Connection {
            id: self.id.clone(),
            source,
        }
    }
}

fn console_size(size: WindowSize) -> ConsoleSize {
    ConsoleSize {
        height: size.rows,
        width: size.columns,
    }
}

/// Gives the runner its command; returns its answer and our ends of the program's descriptors.
fn hand_over(control: &UnixStream, spec: ExecSpec) -> io::Result<(Report, Ends)> {
    control.set_write_timeout(Some(STARTED_WITHIN))?;
    control.set_read_timeout(Some(STARTED_WITHIN))?;
    let command = wire::Command {
        argv: spec.argv,
        env: spec.env,
        cwd: spec.cwd,
        user: spec.user,
        terminal: spec.terminal.map(console_size),
    };
    let mut inbox = Inbox::default();
    let gone = || io::Error::other("the program's runner ended without a word");
    if command.terminal.is_some() {
        wire::tell(control.as_fd(), &command, &[])?;
        let report = inbox.next(control.as_fd())?.ok_or_else(gone)?;
        // Without a terminal there is a reason; whatever is put in its place is not used.
        let master = inbox
            .fds
            .pop()
            .map_or_else(|| control.try_clone().map(OwnedFd::from), Ok)?;
        let ends = Ends {
            stdin: master.try_clone()?,
            output: master,
            errors: None,
        };
        return Ok((report, ends));
    }
    let pipe = || pipe_with(PipeFlags::CLOEXEC);
    let ((stdin, input), (output, stdout), (errors, stderr)) = (pipe()?, pipe()?, pipe()?);
    wire::tell(
        control.as_fd(),
        &command,
        &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
    )?;
    // Our copies would keep the program from seeing the end of its input, and us the end of its output.
    drop((stdin, stdout, stderr));
    let report = inbox.next(control.as_fd())?.ok_or_else(gone)?;
    let ends = Ends {
        stdin: input,
        output,
        errors: Some(errors),
    };
    Ok((report, ends))
}
