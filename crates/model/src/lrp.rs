//! State of an actual LRP, one instance of a process, and its legal moves.
//!
//! ```text
//!            claim            run
//! UNCLAIMED ──────▶ CLAIMED ──────▶ RUNNING
//!     ▲  ▲             │ crash         │ crash
//!     │  └── unclaim ──┴───────────────┤
//!     │        retry                   ▼
//!     └──────────────────────────── CRASHED
//! ```
//!
//! Source: cloudfoundry/bbs:models/actual_lrp.go. Written by the scheduler only.

use std::fmt;
use std::str::FromStr;

/// Where an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LrpState {
    /// Wanted, no cell has it.
    Unclaimed,
    /// A cell builds its container or waits for its first health check.
    Claimed,
    /// Healthy at least once.
    Running,
    /// Ended by itself; waits for its back-off.
    Crashed,
}

/// What can happen to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LrpEvent {
    /// A cell took it.
    Claim,
    /// Its first health check passed.
    Run,
    /// It ended, or its health check failed.
    Crash,
    /// Its cell is gone or gave it back.
    Unclaim,
}

/// A move the state machine does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an instance that is {from} cannot {event:?}")]
pub struct Denied {
    /// State it was in.
    pub from: LrpState,
    /// What was asked.
    pub event: LrpEvent,
}

impl LrpState {
    /// All states, for exhaustive tests.
    pub const ALL: [Self; 4] = [Self::Unclaimed, Self::Claimed, Self::Running, Self::Crashed];

    /// The state after `event`, or why not.
    pub fn transition(self, event: LrpEvent) -> Result<Self, Denied> {
        use LrpEvent as E;
        use LrpState as S;
        match (self, event) {
            (S::Unclaimed | S::Claimed | S::Crashed, E::Claim) => Ok(S::Claimed),
            (S::Unclaimed | S::Claimed | S::Running | S::Crashed, E::Run) => Ok(S::Running),
            (S::Unclaimed | S::Claimed | S::Running, E::Crash) => Ok(S::Crashed),
            (S::Unclaimed | S::Claimed | S::Running | S::Crashed, E::Unclaim) => Ok(S::Unclaimed),
            (S::Running, E::Claim) | (S::Crashed, E::Crash) => Err(Denied { from: self, event }),
        }
    }

    /// The state's name in rows and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unclaimed => "UNCLAIMED",
            Self::Claimed => "CLAIMED",
            Self::Running => "RUNNING",
            Self::Crashed => "CRASHED",
        }
    }
}

impl fmt::Display for LrpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LrpState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| format!("unknown instance state {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_has_its_answer() {
        use LrpEvent::*;
        let denied = [(LrpState::Running, Claim), (LrpState::Crashed, Crash)];
        for from in LrpState::ALL {
            for event in [Claim, Run, Crash, Unclaim] {
                assert_eq!(
                    from.transition(event).is_err(),
                    denied.contains(&(from, event)),
                    "{from} {event:?}"
                );
            }
        }
    }

    #[test]
    fn names_round_trip() {
        for state in LrpState::ALL {
            assert_eq!(state.as_str().parse::<LrpState>(), Ok(state));
        }
        assert!("running".parse::<LrpState>().is_err());
    }
}
