//! One unpacking per layer at a time: whoever comes second waits, then looks again.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard};

use model::Digest;

/// The layers being unpacked now.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    active: Mutex<HashSet<Digest>>,
    landed: Condvar,
}

/// The right to unpack one layer, until dropped.
#[derive(Debug)]
pub(crate) struct Flight<'a> {
    flights: &'a Flights,
    digest: Digest,
}

impl Flights {
    /// Waits until nobody else has `digest`, then takes it. The wait lasts as long as the other's work, which its
    /// blob reader bounds.
    pub(crate) fn take(&self, digest: &Digest) -> Flight<'_> {
        let mut active = self.lock();
        while !active.insert(digest.clone()) {
            active = self.landed.wait(active).expect("no holder of this lock panics");
        }
        Flight {
            flights: self,
            digest: digest.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.active.lock().expect("no holder of this lock panics")
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.digest);
        self.flights.landed.notify_all();
    }
}
