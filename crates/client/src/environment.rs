//! What a command line gets from its process: variables, directories, terminals, streams, the clock.
//!
//! Everything is read once, here; the rest of the crate takes it as plain values, so tests choose it.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, SystemClock};

use crate::Secret;

/// Where requests and replies are shown (`CF_TRACE`, `-v`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// Not at all.
    Off,
    /// On standard error.
    Screen,
    /// Appended to a file that only its owner may read.
    File(PathBuf),
}

/// Which of the three standard streams are terminals.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terminal {
    /// Standard input: prompts may ask.
    pub input: bool,
    /// Standard output: colour is possible.
    pub output: bool,
    /// Standard error: progress may be drawn.
    pub error: bool,
}

/// The three standard streams, or what a test puts in their place.
pub struct Streams {
    /// Answers to prompts.
    pub input: Box<dyn BufRead + Send>,
    /// Results.
    pub out: Box<dyn Write + Send>,
    /// Errors and warnings.
    pub err: Box<dyn Write + Send>,
}

impl Streams {
    /// The streams of this process.
    pub fn standard() -> Self {
        Self {
            input: Box::new(BufReader::new(io::stdin())),
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
        }
    }

    /// Streams that lead nowhere.
    pub fn closed() -> Self {
        Self {
            input: Box::new(io::empty()),
            out: Box::new(io::sink()),
            err: Box::new(io::sink()),
        }
    }
}

/// The surroundings of one command line.
pub struct Environment {
    /// How the program was called (`slipway`, or `cf` through a link); used in texts.
    pub program: String,
    /// The program's version.
    pub version: String,
    /// The directory in which `.slipway` lies: `SLIPWAY_HOME`, else `CF_HOME`, else `HOME`.
    pub home: Option<PathBuf>,
    /// Where `push` looks for a manifest.
    pub directory: PathBuf,
    /// `CF_DOCKER_PASSWORD`.
    pub docker_password: Secret,
    /// `CF_USERNAME`.
    pub username: String,
    /// `CF_PASSWORD`.
    pub password: Secret,
    /// `CF_STAGING_TIMEOUT` (minutes, fractions allowed), 15 minutes if unset.
    pub staging_timeout: Duration,
    /// `CF_STARTUP_TIMEOUT` (minutes, fractions allowed), 5 minutes if unset.
    pub startup_timeout: Duration,
    /// `CF_TRACE`.
    pub trace: Trace,
    /// Whether to colour: only on a terminal that is not dumb, and not with `NO_COLOR` or `CF_COLOR=false`.
    pub colour: bool,
    /// Which streams are terminals.
    pub terminal: Terminal,
    /// The streams.
    pub streams: Streams,
    /// The clock by which tokens expire.
    pub clock: Arc<dyn Clock>,
}

impl Environment {
    /// Reads the surroundings of this process. `version` is the binary's.
    pub fn from_process(version: &str) -> Self {
        let terminal = Terminal {
            input: io::stdin().is_terminal(),
            output: io::stdout().is_terminal(),
            error: io::stderr().is_terminal(),
        };
        let home = ["SLIPWAY_HOME", "CF_HOME", "HOME"].into_iter().find_map(variable);
        Self {
            program: program_name(),
            version: version.to_owned(),
            home: home.map(PathBuf::from),
            directory: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            docker_password: Secret::new(text("CF_DOCKER_PASSWORD")),
            username: text("CF_USERNAME"),
            password: Secret::new(text("CF_PASSWORD")),
            staging_timeout: minutes(&text("CF_STAGING_TIMEOUT")).unwrap_or(Duration::from_secs(15 * 60)),
            startup_timeout: minutes(&text("CF_STARTUP_TIMEOUT")).unwrap_or(Duration::from_secs(5 * 60)),
            trace: trace(&text("CF_TRACE")),
            colour: colour(terminal.output),
            terminal,
            streams: Streams::standard(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Shows requests on the screen, unless they already go to a file.
    pub fn trace_on_screen(&mut self) {
        if self.trace == Trace::Off {
            self.trace = Trace::Screen;
        }
    }
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn text(name: &str) -> String {
    variable(name)
        .map(|value| value.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn program_name() -> String {
    let called = std::env::args_os().next().map(PathBuf::from);
    let name = called.and_then(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    name.unwrap_or_else(|| "slipway".to_owned())
}

fn minutes(text: &str) -> Option<Duration> {
    let minutes: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(minutes * 60.0)
        .ok()
        .filter(|d| !d.is_zero())
}

fn trace(text: &str) -> Trace {
    match text {
        "" | "false" | "FALSE" | "False" => Trace::Off,
        "true" | "TRUE" | "True" => Trace::Screen,
        path => Trace::File(PathBuf::from(path)),
    }
}

fn colour(terminal: bool) -> bool {
    let wish = text("CF_COLOR").to_ascii_lowercase();
    let refused = variable("NO_COLOR").is_some() || text("TERM") == "dumb" || wish == "false";
    wish == "true" || (terminal && !refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_minutes_and_may_be_fractions() {
        assert_eq!(minutes("5"), Some(Duration::from_secs(300)));
        assert_eq!(minutes("0.5"), Some(Duration::from_secs(30)));
        for bad in ["", "x", "-1", "0", "inf", "nan"] {
            assert_eq!(minutes(bad), None, "{bad}");
        }
    }

    #[test]
    fn trace_is_a_switch_or_a_path() {
        assert_eq!(trace(""), Trace::Off);
        assert_eq!(trace("true"), Trace::Screen);
        assert_eq!(trace("/tmp/t"), Trace::File("/tmp/t".into()));
    }
}
