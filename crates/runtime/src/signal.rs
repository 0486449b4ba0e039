//! Signals by number and name.

use std::fmt;
use std::str::FromStr;

/// A signal a container's program can be sent: 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Signal(i32);

/// Text or a number that is no signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no signal; use a name such as SIGTERM or a number from 1 to 64")]
pub struct UnknownSignal(String);

/// Names by number, from 1 (signal(7), x86 and ARM).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The first real-time signal a program may use under the usual C libraries.
const REALTIME_MIN: i32 = 34;
const MAX: i32 = 64;

impl Signal {
    /// Asks to end.
    pub const TERM: Self = Self(15);
    /// Ends at once.
    pub const KILL: Self = Self(9);

    /// The signal of this number.
    ///
    /// # Errors
    /// When there is none.
    pub fn from_number(number: i32) -> Result<Self, UnknownSignal> {
        if (1..=MAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(UnknownSignal(number.to_string()))
        }
    }

    /// Its number.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = usize::try_from(self.0 - 1).ok().and_then(|at| NAMES.get(at));
        match name {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 >= REALTIME_MIN => write!(f, "SIGRTMIN+{}", self.0 - REALTIME_MIN),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl FromStr for Signal {
    type Err = UnknownSignal;

    /// `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`, in any case: the forms an image's STOPSIGNAL takes.
    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        let unknown = || UnknownSignal(text.to_owned());
        if let Ok(number) = text.parse() {
            return Self::from_number(number);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(at) = NAMES.iter().position(|known| *known == name) {
            return i32::try_from(at + 1).map(Self).map_err(|_| unknown());
        }
        let offset: i32 = match name.strip_prefix("RTMIN") {
            Some("") => 0,
            Some(rest) => rest
                .strip_prefix('+')
                .and_then(|n| n.parse().ok())
                .ok_or_else(unknown)?,
            None => return Err(unknown()),
        };
        REALTIME_MIN
            .checked_add(offset)
            .ok_or_else(unknown)
            .and_then(|n| Self::from_number(n).map_err(|_| unknown()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        for (text, number, name) in [
            ("SIGTERM", 15, "SIGTERM"),
            ("quit", 3, "SIGQUIT"),
            ("9", 9, "SIGKILL"),
            ("SIGRTMIN+3", 37, "SIGRTMIN+3"),
            ("SYS", 31, "SIGSYS"),
        ] {
            let signal: Signal = text.parse().expect(text);
            assert_eq!((signal.number(), signal.to_string().as_str()), (number, name));
        }
        for text in [
            "",
            "0",
            "65",
            "SIGNONE",
            "RTMIN+99",
            "RTMIN-1",
            "RTMIN+2147483647",
        ] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
    }
}
