//! The backends of one route and the choice among them.
//!
//! Round robin over backends that are eligible and below their limit. A backend that failed is passed over for 30 s;
//! when nothing else is left, all marks are forgotten, since a router that serves nobody helps nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::instance::{Instance, Slot};

pub(crate) struct Pool {
    /// Path of the route, empty for none; where sticky cookies are valid.
    pub(crate) path: Box<str>,
    instances: Box<[Arc<Instance>]>,
    cursor: AtomicUsize,
}

/// Which backends a request accepts.
pub(crate) enum Selection {
    Any,
    /// A sticky session: this instance, or any when it is gone or in trouble.
    Prefer(Box<str>),
    /// `X-Cf-App-Instance`.
    AppInstance {
        app: Box<str>,
        index: u32,
    },
    /// `X-Cf-Process-Instance`.
    ProcessInstance {
        process: Box<str>,
        index: Option<u32>,
    },
}

/// Why there is no backend for a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoBackend {
    /// The route has none.
    Empty,
    /// All have as many requests as they may.
    Overloaded,
    /// None is the one asked for.
    NotThere,
}

impl Pool {
    pub(crate) fn new(path: Box<str>, instances: Box<[Arc<Instance>]>) -> Self {
        // Routers that start together must not all begin with the same backend.
        Self {
            path,
            instances,
            cursor: AtomicUsize::new(rand::random::<u16>().into()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.instances.len()
    }

    pub(crate) fn first(&self) -> Option<&Arc<Instance>> {
        self.instances.first()
    }

    /// A place at one backend, each of which takes `limit` requests at once.
    pub(crate) fn pick(&self, selection: &Selection, limit: usize) -> Result<Slot, NoBackend> {
        if self.instances.is_empty() {
            return Err(NoBackend::Empty);
        }
        if let Selection::Prefer(guid) = selection
            && let Some(instance) = self.instances.iter().find(|i| i.guid() == guid.as_bytes())
            && instance.eligible()
            && let Some(slot) = instance.acquire(limit)
        {
            return Ok(slot);
        }
        let first = self.next_round(selection, limit);
        match first {
            Err(NoBackend::Empty) => {
                self.instances
                    .iter()
                    .filter(|i| selection.accepts(i))
                    .for_each(|i| i.clear_mark());
                self.next_round(selection, limit)
            }
            other => other,
        }
    }

    /// One look at each backend. `Empty` means: only ineligible ones were there.
    fn next_round(&self, selection: &Selection, limit: usize) -> Result<Slot, NoBackend> {
        let start = self.cursor.fetch_add(1, Ordering::Relaxed) % self.instances.len();
        let (head, tail) = self.instances.split_at(start);
        let mut verdict = NoBackend::NotThere;
        for instance in tail.iter().chain(head).filter(|i| selection.accepts(i)) {
            if !instance.eligible() {
                verdict = NoBackend::Empty;
                continue;
            }
            match instance.acquire(limit) {
                Some(slot) => return Ok(slot),
                None if verdict == NoBackend::NotThere => verdict = NoBackend::Overloaded,
                None => {}
            }
        }
        Err(verdict)
    }
}

impl Selection {
    fn accepts(&self, instance: &Instance) -> bool {
        let identity = instance.identity.as_ref();
        match self {
            Self::Any | Self::Prefer(_) => true,
            Self::AppInstance { app, index } => {
                identity.is_some_and(|id| id.app_guid == **app && id.index == *index)
            }
            Self::ProcessInstance { process, index } => {
                identity.is_some_and(|id| id.process_guid == **process && index.is_none_or(|i| i == id.index))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::v1;

    fn pool(count: u32) -> Pool {
        let instance = |index| {
            Arc::new(
                Instance::of_app(&v1::Backend {
                    address: format!("127.0.0.1:{}", 1000 + index),
                    app_guid: "app".into(),
                    process_guid: "web".into(),
                    instance_guid: format!("i{index}"),
                    index,
                    ..Default::default()
                })
                .unwrap(),
            )
        };
        Pool::new("".into(), (0..count).map(instance).collect())
    }

    fn picked(pool: &Pool, selection: &Selection, times: usize) -> Vec<u32> {
        let mut all: Vec<_> = (0..times)
            .map(|_| {
                pool.pick(selection, 9)
                    .unwrap()
                    .instance()
                    .identity
                    .as_ref()
                    .unwrap()
                    .index
            })
            .collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn round_robin_is_even() {
        assert_eq!(picked(&pool(3), &Selection::Any, 6), [0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn failed_ones_are_passed_over_until_all_failed() {
        let pool = pool(2);
        pool.first().unwrap().mark_failed();
        assert_eq!(picked(&pool, &Selection::Any, 4), [1, 1, 1, 1]);
        pool.instances.iter().for_each(|i| i.mark_failed());
        assert_eq!(picked(&pool, &Selection::Any, 4), [0, 0, 1, 1]);
    }

    #[test]
    fn a_full_backend_is_passed_over_and_all_full_is_said() {
        let pool = pool(2);
        let _a = pool.pick(&Selection::Any, 1).unwrap();
        let _b = pool.pick(&Selection::Any, 1).unwrap();
        assert_eq!(pool.pick(&Selection::Any, 1).err(), Some(NoBackend::Overloaded));
    }

    #[test]
    fn selections_pick_what_they_name() {
        let pool = pool(3);
        assert_eq!(picked(&pool, &Selection::Prefer("i1".into()), 3), [1, 1, 1]);
        assert_eq!(
            picked(
                &pool,
                &Selection::AppInstance {
                    app: "app".into(),
                    index: 2
                },
                2
            ),
            [2, 2]
        );
        let process = |index| Selection::ProcessInstance {
            process: "web".into(),
            index,
        };
        assert_eq!(picked(&pool, &process(Some(0)), 2), [0, 0]);
        assert_eq!(picked(&pool, &process(None), 3), [0, 1, 2]);
        let absent = Selection::AppInstance {
            app: "app".into(),
            index: 3,
        };
        assert_eq!(pool.pick(&absent, 9).err(), Some(NoBackend::NotThere));
        assert_eq!(picked(&pool, &Selection::Prefer("gone".into()), 3), [0, 1, 2]);
    }
}
