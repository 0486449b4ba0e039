//! A step of making a container that failed.

use std::io;

/// Which step, and why.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A system call said no.
    #[error("cannot {step}")]
    Step {
        /// The step, as a verb and its object.
        step: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The program cannot be run, for its developer.
    #[error("{0}")]
    NotRun(String),
    /// We said no.
    #[error("{0}")]
    Refused(String),
}

impl Failure {
    pub fn refused(why: impl Into<String>) -> Self {
        Self::Refused(why.into())
    }
}

/// Names the step a result belongs to.
pub(crate) trait During<T> {
    /// `step` completes "cannot …".
    fn during(self, step: impl AsRef<str>) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: impl AsRef<str>) -> Result<T, Failure> {
        self.map_err(|error| Failure::Step {
            step: step.as_ref().to_owned(),
            source: error.into(),
        })
    }
}
