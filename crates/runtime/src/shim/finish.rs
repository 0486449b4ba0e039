//! The end of a container: everything inside is dead, what is left is to say so.

use std::os::fd::AsFd;

use base::Clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::event::Shim;
use super::setup::Maker;
use crate::cgroup::Group;
use crate::init::{During, Failure};
use crate::record::{Exit, ExitCause};
use crate::signal::Signal;

impl Shim {
    /// Reads the last output and words, writes the exit record, removes the cgroups.
    ///
    /// The order matters: who sees this process end finds the record, and who reads the record finds all output.
    pub(super) fn finish(mut self, group: &Group<'_>) -> Result<(), Failure> {
        self.output.drain();
        while self.cause.is_none() && self.has_report() {
            self.hear()?;
        }
        let ended = self.reap()?;
        if self.is_starting() {
            self.fail(
                "the container ended before its program ran; it may be too large for its memory limit".into(),
            );
        }
        let cause = self.cause.take().unwrap_or(ended);
        let exit = Exit {
            cause,
            out_of_memory: group.oom_kills() > 0,
            at: self.clock.now(),
        };
        super::write_exit(&exit).during("write the exit record")?;
        if let Maker::Other(container) = &self.maker {
            container.delete();
        }
        group.remove().map_err(super::refused)
    }

    fn has_report(&self) -> bool {
        let Maker::Own(control) = &self.maker else {
            return false;
        };
        let mut fds = [PollFd::from_borrowed_fd(control.as_fd(), PollFlags::IN)];
        poll(
            &mut fds,
            Some(&Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
        )
        .is_ok_and(|ready| ready > 0)
    }

    /// Reaps pid 1; returns how it ended. Ours is killed when it could not say how the program ended; another runtime's
    /// is the program.
    fn reap(&self) -> Result<ExitCause, Failure> {
        loop {
            match waitid(WaitId::PidFd(self.init.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Err(Errno::INTR) => {}
                waited => {
                    let status = waited.during("reap the container's init")?;
                    let signal = status.and_then(|status| status.terminating_signal());
                    let signal = signal.and_then(|n| Signal::from_number(n).ok());
                    let exit = status.and_then(|status| status.exit_status());
                    return Ok(match (&self.maker, exit) {
                        (Maker::Other(_), Some(exit)) => ExitCause::Status(exit),
                        _ => ExitCause::Signal(signal.unwrap_or(Signal::KILL)),
                    });
                }
            }
        }
    }
}
