//! Decisions without doing: what should happen to instances and routes, given a picture of the world.
//!
//! Snapshot, clock reading and source of new ids in, actions out. Same input, same output: nothing here reads a
//! clock, draws a random number, waits or talks. `scheduler` takes the snapshot and carries the actions out.
//!
//! | file | what |
//! |---|---|
//! | `snapshot.rs` | the picture: desired LRPs, actual LRPs, cells |
//! | `action.rs` | what may come out |
//! | `converge.rs` | desired against actual: create, restart, stop, retire; the heart |
//! | `auction.rs` | which cell gets an instance |
//! | `restart.rs` | when a crashed instance starts again |
//! | `route.rs` | routes and running instances → route table, and the difference between two tables |

mod action;
mod auction;
mod converge;
mod restart;
mod route;
mod snapshot;

pub use action::{Action, RestartCause, StopReason};
pub use auction::{Auction, Outcome, PlacementError, Request};
pub use converge::{REPORT_GRACE, converge};
pub use restart::{Crash, PLATFORM_FAULT_DELAY, RestartDecision, decide, on_crash};
pub use route::{
    Backend, Destination, MappedRoute, RouteEntry, RouteTable, RoutedInstance, RoutedProcess, TableChange,
    build_table, diff,
};
pub use snapshot::{
    ActualLrp, CellHealth, CellState, DesiredLrp, DockerFlag, Held, Lifecycle, Resources, Snapshot,
};
