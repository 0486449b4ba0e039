//! Where an instance is in its life, and its legal moves.
//!
//! ```text
//!            Fetch             Prepare             Start              Healthy            Ready
//! Accepted ────────▶ Fetching ────────▶ Preparing ────────▶ Starting ────────▶ Running ────────┐
//!     │                  │                  │                  │                 │  ▲──────────┘
//!     ├──────────────────┴────────┬─────────┴──────────────────┴─────────────────┤
//!     │ Stop                      ▼                                              │ End
//!     └──────────────────────▶ Stopping ──────────────── End ────────────────▶ Ended
//! ```
//!
//! Every phase but `Ended` may end; nothing follows an end. What the scheduler sees of it is coarser: the first four
//! are "starting".

use std::net::Ipv4Addr;

use wire::v1::{Exit, InstancePhase};

/// Whether requests may be routed to a running instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Its readiness check passes, or it has none.
    Ready,
    /// Not now.
    NotReady,
}

/// A phase, with what is only known in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    /// In the ledger.
    Accepted,
    /// Layers are being fetched and unpacked.
    Fetching,
    /// The container is being made.
    Preparing,
    /// The program runs; its first health check has not passed.
    Starting { address: Ipv4Addr },
    /// Healthy at least once.
    Running { address: Ipv4Addr, readiness: Readiness },
    /// A stop was asked for.
    Stopping { address: Option<Ipv4Addr> },
    /// Over, and nothing of it is left but this.
    Ended { exit: Exit },
}

/// What can happen to an instance.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Fetch,
    Prepare,
    Start(Ipv4Addr),
    Healthy(Readiness),
    Ready(Readiness),
    Stop,
    End(Exit),
}

/// A move there is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an instance that is {from} cannot be told to {event}")]
pub(crate) struct Denied {
    from: &'static str,
    event: &'static str,
}

impl Phase {
    /// The phase after `event`, or why there is none.
    pub(crate) fn transition(self, event: Event) -> Result<Self, Denied> {
        use Event as E;
        use Phase as P;
        match (self, event) {
            (P::Accepted, E::Fetch) => Ok(P::Fetching),
            (P::Fetching, E::Prepare) => Ok(P::Preparing),
            (P::Preparing, E::Start(address)) => Ok(P::Starting { address }),
            (P::Starting { address }, E::Healthy(readiness))
            | (P::Running { address, .. }, E::Ready(readiness)) => Ok(P::Running { address, readiness }),
            (P::Accepted | P::Fetching | P::Preparing, E::Stop) => Ok(P::Stopping { address: None }),
            (P::Starting { address } | P::Running { address, .. }, E::Stop) => Ok(P::Stopping {
                address: Some(address),
            }),
            (P::Stopping { address }, E::Stop) => Ok(P::Stopping { address }),
            (from @ P::Ended { .. }, event @ E::End(_)) => Err(denied(&from, &event)),
            (_, E::End(exit)) => Ok(P::Ended { exit }),
            (from, event) => Err(denied(&from, &event)),
        }
    }

    /// The phase as the scheduler knows it.
    pub(crate) fn wire(&self) -> InstancePhase {
        match self {
            Self::Accepted | Self::Fetching | Self::Preparing | Self::Starting { .. } => {
                InstancePhase::Starting
            }
            Self::Running { .. } => InstancePhase::Running,
            Self::Stopping { .. } => InstancePhase::Stopping,
            Self::Ended { .. } => InstancePhase::Ended,
        }
    }

    /// The container's address, once it has one.
    pub(crate) fn address(&self) -> Option<Ipv4Addr> {
        match self {
            Self::Starting { address } | Self::Running { address, .. } => Some(*address),
            Self::Stopping { address } => *address,
            _ => None,
        }
    }

    /// Whether requests may be routed to it.
    pub(crate) fn readiness(&self) -> Readiness {
        match self {
            Self::Running { readiness, .. } => *readiness,
            _ => Readiness::NotReady,
        }
    }

    /// Whether it is over.
    pub(crate) fn is_ended(&self) -> bool {
        matches!(self, Self::Ended { .. })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Fetching => "fetching its image",
            Self::Preparing => "being prepared",
            Self::Starting { .. } => "starting",
            Self::Running { .. } => "running",
            Self::Stopping { .. } => "stopping",
            Self::Ended { .. } => "ended",
        }
    }
}

fn denied(from: &Phase, event: &Event) -> Denied {
    let event = match event {
        Event::Fetch => "fetch",
        Event::Prepare => "prepare",
        Event::Start(_) => "start",
        Event::Healthy(_) => "be healthy",
        Event::Ready(_) => "change its readiness",
        Event::Stop => "stop",
        Event::End(_) => "end",
    };
    Denied {
        from: from.name(),
        event,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn phases() -> Vec<Phase> {
        let address = ADDRESS;
        let readiness = Readiness::Ready;
        vec![
            Phase::Accepted,
            Phase::Fetching,
            Phase::Preparing,
            Phase::Starting { address },
            Phase::Running { address, readiness },
            Phase::Stopping {
                address: Some(address),
            },
            Phase::Ended {
                exit: Exit::default(),
            },
        ]
    }

    fn events() -> Vec<Event> {
        vec![
            Event::Fetch,
            Event::Prepare,
            Event::Start(ADDRESS),
            Event::Healthy(Readiness::Ready),
            Event::Ready(Readiness::NotReady),
            Event::Stop,
            Event::End(Exit::default()),
        ]
    }

    #[test]
    fn every_pair_has_its_answer() {
        // Rows are phases in order, columns events; a dot is a move there is not.
        let expected = [
            ["fetching its image", ".", ".", ".", ".", "stopping", "ended"],
            [".", "being prepared", ".", ".", ".", "stopping", "ended"],
            [".", ".", "starting", ".", ".", "stopping", "ended"],
            [".", ".", ".", "running", ".", "stopping", "ended"],
            [".", ".", ".", ".", "running", "stopping", "ended"],
            [".", ".", ".", ".", ".", "stopping", "ended"],
            [".", ".", ".", ".", ".", ".", "."],
        ];
        for (phase, row) in phases().into_iter().zip(expected) {
            for (event, expected) in events().into_iter().zip(row) {
                let text = format!("{} + {event:?}", phase.name());
                let next = phase.clone().transition(event);
                assert_eq!(next.as_ref().map_or(".", Phase::name), expected, "{text}");
            }
        }
    }

    #[test]
    fn addresses_last_until_the_end_and_only_running_instances_are_ready() {
        for phase in phases() {
            let has_address = matches!(phase.wire(), InstancePhase::Running | InstancePhase::Stopping)
                || matches!(phase, Phase::Starting { .. });
            assert_eq!(phase.address().is_some(), has_address, "{phase:?}");
            assert_eq!(
                phase.readiness() == Readiness::Ready,
                matches!(phase, Phase::Running { .. })
            );
        }
    }
}
