//! Is an instance alive, and may requests go to it? Asked from outside, over the bridge: no process in the container.
//!
//! Numbers and texts: cloudfoundry/healthcheck, cloudfoundry/executor:depot/transformer and depot/steps.

mod check;
mod hint;
mod http;
mod monitor;

pub(crate) use check::Check;
pub(crate) use hint::listening_hint;
pub(crate) use monitor::{Budget, First, Never, follow_readiness, until_healthy, until_unhealthy};
