//! Every instance the table knows, so that routes of one instance share it, and so that an instance that left the table
//! can still be asked what is in flight.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tracing::warn;
use wire::v1;

use crate::instance::Instance;

/// Keyed by the hash of the instance guid: a guid stored a second time would cost more than the rare comparison.
#[derive(Default)]
pub(super) struct Registry {
    hasher: RandomState,
    known: HashMap<u64, Vec<Weak<Instance>>>,
}

impl Registry {
    /// The instance `backend` describes, known or new. `None`, with a warning, when it is not usable.
    pub(super) fn adopt(&mut self, backend: &v1::Backend) -> Option<Arc<Instance>> {
        let known = self
            .known
            .entry(self.hasher.hash_one(backend.instance_guid.as_bytes()))
            .or_default();
        if let Some(same) = known
            .iter()
            .filter_map(Weak::upgrade)
            .find(|instance| instance.is(backend))
        {
            return Some(same);
        }
        let Some(instance) = Instance::of_app(backend).map(Arc::new) else {
            warn!(
                address = backend.address,
                instance = backend.instance_guid,
                "an unusable backend was skipped"
            );
            return None;
        };
        known.retain(|weak| weak.strong_count() > 0);
        known.push(Arc::downgrade(&instance));
        Some(instance)
    }

    /// All values of an instance (one per port).
    pub(super) fn find<'a>(&'a self, guid: &'a [u8]) -> impl Iterator<Item = Arc<Instance>> + 'a {
        let known = self.known.get(&self.hasher.hash_one(guid));
        known
            .into_iter()
            .flatten()
            .filter_map(Weak::upgrade)
            .filter(move |instance| instance.guid() == guid)
    }

    pub(super) fn sweep(&mut self, idle: Duration) {
        self.known.retain(|_, instances| {
            instances.retain(|weak| match weak.upgrade() {
                Some(instance) => {
                    instance.connections.close_idle(idle);
                    true
                }
                None => false,
            });
            !instances.is_empty()
        });
    }
}
