//! The network against the real kernel, each test in a network namespace of its own: no host rule, link
//! or parameter is touched, and whatever a failed test leaves ends with its threads and children.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail tests")]

mod egress;
mod lab;
mod life;
mod walls;
