//! How an instance ended, in the words the scheduler stores and the developer reads.
//!
//! Texts: cloudfoundry/executor:depot/steps (`APP/PROC/WEB: Exited with status 1 (out of memory)`,
//! `Instance never healthy after 1m0s: …`).

use runtime::ExitCause;
use wire::v1::Exit;

/// Longest description, bytes (cloudfoundry/bbs:models/actual_lrp.go, crash reason).
const LONGEST: usize = 1024;

/// Why a container's life is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The program ended by itself.
    Exited,
    /// It was asked to.
    Stopped,
    /// A health check failed; the text says which.
    Unhealthy(String),
}

/// A start that failed, before the program ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What and why, for the developer.
    pub(crate) reason: String,
    /// Who has to do something about it.
    pub(crate) fault: Fault,
}

/// Whose failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The app's: it counts as a crash.
    App,
    /// The platform's, the registry's or the network's.
    Platform,
}

impl Failure {
    /// A failure of the platform.
    pub(crate) fn platform(reason: String) -> Self {
        let fault = Fault::Platform;
        Self { reason, fault }
    }

    /// A failure the app's developer has to repair.
    pub(crate) fn app(reason: String) -> Self {
        let fault = Fault::App;
        Self { reason, fault }
    }

    /// The end of an instance whose program never ran.
    pub(crate) fn exit(self) -> Exit {
        Exit {
            crashed: true,
            description: shortened(self.reason),
            not_app_fault: self.fault == Fault::Platform,
            ..Exit::default()
        }
    }
}

/// The end of an instance that was stopped before its program ran.
pub(crate) fn stopped_early() -> Exit {
    Exit {
        description: "stopped-before-running".to_owned(),
        ..Exit::default()
    }
}

/// The end of an instance whose container vanished while no daemon was looking: the machine was restarted.
pub(crate) fn vanished() -> Exit {
    Exit {
        crashed: true,
        description: "the container is gone: the cell was restarted".to_owned(),
        not_app_fault: true,
        ..Exit::default()
    }
}

/// The end of an instance whose program ran. `source` is its log source, such as `APP/PROC/WEB`.
pub(crate) fn ended(source: &str, why: &Why, end: &runtime::Exit, last_lines: Vec<String>) -> Exit {
    let lost = end.cause == ExitCause::Lost;
    let description = match (why, &end.cause) {
        (Why::Unhealthy(reason), _) => reason.clone(),
        (_, ExitCause::NotStarted(reason)) => format!("{source}: {reason}"),
        (Why::Exited, ExitCause::Lost) if !end.out_of_memory => {
            "the process that held the container was killed, and the container with it".to_owned()
        }
        _ => format!("{source}: Exited with status {}{}", end.code(), memory(end)),
    };
    Exit {
        crashed: *why != Why::Stopped,
        description: shortened(description),
        status: end.code(),
        signal: match &end.cause {
            ExitCause::Signal(signal) => signal.to_string(),
            _ => String::new(),
        },
        out_of_memory: end.out_of_memory,
        not_app_fault: *why == Why::Exited && lost && !end.out_of_memory,
        last_lines,
    }
}

/// The line of the app's log that says so.
pub(crate) fn exit_line(end: &runtime::Exit, note: &str) -> String {
    format!("Exit status {}{}{note}", end.code(), memory(end))
}

fn memory(end: &runtime::Exit) -> &'static str {
    if end.out_of_memory { " (out of memory)" } else { "" }
}

fn shortened(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = (0..=LONGEST)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::Signal;
    use std::time::SystemTime;

    fn end(cause: ExitCause, out_of_memory: bool) -> runtime::Exit {
        let at = SystemTime::UNIX_EPOCH;
        runtime::Exit {
            cause,
            out_of_memory,
            at,
        }
    }

    #[test]
    fn descriptions_follow_the_reference() {
        let check = |why: Why, cause: ExitCause, oom: bool, expected: &str, crashed: bool| {
            let exit = ended("APP/PROC/WEB", &why, &end(cause, oom), vec![]);
            assert_eq!((exit.description.as_str(), exit.crashed), (expected, crashed));
            exit
        };
        check(
            Why::Exited,
            ExitCause::Status(0),
            false,
            "APP/PROC/WEB: Exited with status 0",
            true,
        );
        let killed = ExitCause::Signal(Signal::KILL);
        let text = "APP/PROC/WEB: Exited with status 137 (out of memory)";
        let exit = check(Why::Exited, killed, true, text, true);
        assert_eq!(
            (exit.status, exit.signal.as_str(), exit.out_of_memory),
            (137, "SIGKILL", true)
        );
        let term = ExitCause::Signal(Signal::TERM);
        check(
            Why::Stopped,
            term.clone(),
            false,
            "APP/PROC/WEB: Exited with status 143",
            false,
        );
        let reason = "Instance never healthy after 1m0s: x";
        check(Why::Unhealthy(reason.to_owned()), term, false, reason, true);
        let missing = ExitCause::NotStarted("no such program: foo".to_owned());
        let exit = check(
            Why::Exited,
            missing,
            false,
            "APP/PROC/WEB: no such program: foo",
            true,
        );
        assert_eq!((exit.status, exit.not_app_fault), (127, false));
        let lost = ended("APP/PROC/WEB", &Why::Exited, &end(ExitCause::Lost, false), vec![]);
        assert!(lost.not_app_fault && lost.crashed);
    }

    #[test]
    fn long_reasons_are_cut_between_characters() {
        let exit = Failure::platform("é".repeat(2000)).exit();
        assert_eq!(exit.description.len(), LONGEST);
        assert!(exit.not_app_fault && exit.crashed);
    }
}
