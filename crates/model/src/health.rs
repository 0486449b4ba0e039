//! Health checks of a process: what the user asks for, with the reference's default numbers.
//!
//! Source of the numbers: cloudfoundry/executor:depot/transformer and
//! cloudfoundry/cloud_controller_ng:lib/cloud_controller/diego/app_recipe_builder.rb.

use std::time::Duration;

/// How an instance shows that it is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthCheckKind {
    /// Every open port accepts a TCP connection.
    Port,
    /// `GET endpoint` on the first port answers 200.
    Http {
        /// Path with a leading slash.
        endpoint: String,
    },
    /// The process runs.
    Process,
}

/// A check with its timings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub kind: HealthCheckKind,
    /// How long one try may take.
    pub invocation_timeout: Duration,
    /// Pause between tries once the instance is up.
    pub interval: Duration,
}

impl HealthCheck {
    /// Pause between tries while an instance starts.
    pub const STARTUP_INTERVAL: Duration = Duration::from_secs(2);
    /// Default time one try may take.
    pub const INVOCATION_TIMEOUT: Duration = Duration::from_secs(1);
    /// Default pause between liveness tries.
    pub const INTERVAL: Duration = Duration::from_secs(30);
    /// Default time an instance has to pass its first check.
    pub const START_TIMEOUT: Duration = Duration::from_secs(60);

    /// A check of this kind with the default timings.
    pub fn new(kind: HealthCheckKind) -> Self {
        Self {
            kind,
            invocation_timeout: Self::INVOCATION_TIMEOUT,
            interval: Self::INTERVAL,
        }
    }
}
