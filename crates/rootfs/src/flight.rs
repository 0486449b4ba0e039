//! One at a time: whoever comes second waits, then looks again.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard};

use model::Digest;

use crate::origin::Origin;

/// What only one may do at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    /// Unpacking a layer for a repository. Those of other repositories do not wait: they must not notice.
    Unpack(Digest, Origin),
    /// Putting a layer in its place, or taking it away.
    Place(Digest),
}

/// The work being done now.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    active: Mutex<HashSet<Work>>,
    landed: Condvar,
}

/// The right to one piece of work, until dropped.
#[derive(Debug)]
pub(crate) struct Flight<'a> {
    flights: &'a Flights,
    work: Work,
}

impl Flights {
    /// Waits until nobody else has `work`, then takes it. The wait lasts as long as the other's, which its blob reader
    /// bounds.
    pub(crate) fn take(&self, work: Work) -> Flight<'_> {
        let mut active = self.lock();
        while !active.insert(work.clone()) {
            active = self.landed.wait(active).expect("no holder of this lock panics");
        }
        Flight { flights: self, work }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Work>> {
        self.active.lock().expect("no holder of this lock panics")
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.work);
        self.flights.landed.notify_all();
    }
}
