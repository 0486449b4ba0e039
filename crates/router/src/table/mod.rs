//! The route table: host and path to the backends of a route.
//!
//! Look-up takes no lock: 256 shards by host are swapped as wholes, and the paths of a host are swapped inside its
//! entry, so that the coming and going of instances touches no map. Updates come from one feed and are serialised by
//! the registry's lock.
//!
//! A route without backends is not in the table at all: the reference router forgets a route with its last endpoint,
//! and a stopped app must answer like a host nobody ever mapped (404). A route whose backends are all unusable stays
//! and answers 503.

mod pool;
mod registry;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::warn;
use wire::v1;

pub(crate) use pool::{NoBackend, Pool, Selection};
use registry::Registry;

const SHARDS: usize = 256;

/// Routes and the instances behind them. Shared between the feed, which writes, and the router, which reads.
pub struct Table {
    shards: Box<[ArcSwap<Shard>]>,
    /// How many wildcard hosts there are; without any, a miss is known after one look.
    wildcards: AtomicUsize,
    registry: Mutex<Registry>,
    revision: AtomicU64,
    filled: AtomicBool,
}

#[derive(Clone, Default)]
struct Shard {
    exact: HashMap<Box<str>, Arc<Host>>,
    /// `*.b.c` under the key `b.c`.
    wild: HashMap<Box<str>, Arc<Host>>,
}

/// The routes of one host, longest path first.
struct Host(ArcSwap<Vec<Arc<Pool>>>);

/// New paths of hosts; an empty list removes the host.
type Changes = HashMap<Box<str>, Vec<Arc<Pool>>>;

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

impl Table {
    /// A table without routes.
    pub fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| ArcSwap::default()).collect(),
            wildcards: AtomicUsize::new(0),
            registry: Mutex::default(),
            revision: AtomicU64::new(0),
            filled: AtomicBool::new(false),
        }
    }

    /// Applies one message of the feed. A snapshot replaces everything; otherwise removals, then upserts. Backends that
    /// cannot be used are skipped with a warning.
    pub fn apply(&self, update: v1::RouteUpdate) {
        let mut registry = self.registry();
        if update.snapshot {
            self.replace_all(&mut registry, &update.upserts);
        } else {
            self.change(&mut registry, &update);
        }
        self.revision.store(update.revision, Ordering::Release);
        self.filled.store(true, Ordering::Release);
    }

    /// Revision of the last update applied, `None` before the first. A router that is not filled answers 503 rather
    /// than 404 for a host it does not know.
    pub fn revision(&self) -> Option<u64> {
        self.filled
            .load(Ordering::Acquire)
            .then(|| self.revision.load(Ordering::Acquire))
    }

    /// Requests and tunnels on their way to an instance, also after its removal from the table.
    pub fn in_flight(&self, instance_guid: &str) -> usize {
        self.registry()
            .find(instance_guid.as_bytes())
            .map(|instance| instance.in_flight())
            .sum()
    }

    /// The route for a lower-case host without port and a path: the longest path of the exact host, then of its parent
    /// wildcards.
    pub(crate) fn lookup(&self, host: &str, path: &str) -> Option<Arc<Pool>> {
        let exact = self
            .shard(host)
            .load()
            .exact
            .get(host)
            .and_then(|host| host.find(path));
        if exact.is_some() || self.wildcards.load(Ordering::Acquire) == 0 {
            return exact;
        }
        let mut rest = host;
        while let Some((_, parent)) = rest.split_once('.') {
            let found = self
                .shard(parent)
                .load()
                .wild
                .get(parent)
                .and_then(|host| host.find(path));
            if found.is_some() {
                return found;
            }
            rest = parent;
        }
        None
    }

    /// Closes connections that were idle for `idle` and forgets instances that are gone.
    pub(crate) fn sweep(&self, idle: Duration) {
        self.registry().sweep(idle);
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().expect("no holder of this lock panics")
    }

    fn shard(&self, key: &str) -> &ArcSwap<Shard> {
        // FNV-1a: only spreads the load of updates, so nobody gains from choosing collisions.
        let hash = key.bytes().fold(0x811c_9dc5_u32, |h, b| {
            (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
        });
        &self.shards[hash as usize % SHARDS]
    }

    fn replace_all(&self, registry: &mut Registry, routes: &[v1::Route]) {
        let mut changes = Changes::new();
        for route in routes {
            self.stage(registry, &mut changes, route, &|_| Vec::new());
        }
        let mut shards: HashMap<*const ArcSwap<Shard>, Shard> = HashMap::new();
        let mut wildcards = 0;
        for (host, paths) in changes.into_iter().filter(|(_, paths)| !paths.is_empty()) {
            let (key, wild) = key_of(&host);
            wildcards += usize::from(wild);
            shards
                .entry(self.shard(key))
                .or_default()
                .map(wild)
                .insert(key.into(), Arc::new(Host::new(paths)));
        }
        for shard in &self.shards {
            shard.store(Arc::new(
                shards.remove(&std::ptr::from_ref(shard)).unwrap_or_default(),
            ));
        }
        self.wildcards.store(wildcards, Ordering::Release);
    }

    fn change(&self, registry: &mut Registry, update: &v1::RouteUpdate) {
        let mut changes = Changes::new();
        let current = |host: &str| self.paths(host);
        for key in &update.removals {
            let (host, path) = normal(key);
            remove(
                changes.entry(host).or_insert_with_key(|host| current(host)),
                &path,
            );
        }
        for route in &update.upserts {
            self.stage(registry, &mut changes, route, &current);
        }
        for (host, paths) in changes {
            self.publish(&host, paths);
        }
    }

    /// Puts one route into `changes`, which starts a host from what `current` says.
    fn stage(
        &self,
        registry: &mut Registry,
        changes: &mut Changes,
        route: &v1::Route,
        current: &dyn Fn(&str) -> Vec<Arc<Pool>>,
    ) {
        let Some(key) = &route.key else {
            warn!(route = route.route_guid, "a route without host was skipped");
            return;
        };
        let (host, path) = normal(key);
        let paths = changes.entry(host).or_insert_with_key(|host| current(host));
        remove(paths, &path);
        if route.backends.is_empty() {
            return;
        }
        let instances = route
            .backends
            .iter()
            .filter_map(|backend| registry.adopt(backend))
            .collect();
        let at = paths.partition_point(|pool| pool.path.len() >= path.len());
        paths.insert(at, Arc::new(Pool::new(path, instances)));
    }

    fn paths(&self, host: &str) -> Vec<Arc<Pool>> {
        let (key, wild) = key_of(host);
        self.shard(key)
            .load()
            .maps(wild)
            .get(key)
            .map(|host| host.0.load().to_vec())
            .unwrap_or_default()
    }

    fn publish(&self, host: &str, paths: Vec<Arc<Pool>>) {
        let (key, wild) = key_of(host);
        let shard = self.shard(key);
        if let Some(known) = shard.load().maps(wild).get(key)
            && !paths.is_empty()
        {
            known.0.store(Arc::new(paths));
            return;
        }
        let mut copy = Shard::clone(&shard.load());
        let map = copy.map(wild);
        if paths.is_empty() {
            if map.remove(key).is_none() {
                return;
            }
            self.wildcards.fetch_sub(usize::from(wild), Ordering::AcqRel);
        } else {
            map.insert(key.into(), Arc::new(Host::new(paths)));
            self.wildcards.fetch_add(usize::from(wild), Ordering::AcqRel);
        }
        shard.store(Arc::new(copy));
    }
}

impl Shard {
    fn map(&mut self, wild: bool) -> &mut HashMap<Box<str>, Arc<Host>> {
        if wild { &mut self.wild } else { &mut self.exact }
    }

    fn maps(&self, wild: bool) -> &HashMap<Box<str>, Arc<Host>> {
        if wild { &self.wild } else { &self.exact }
    }
}

impl Host {
    fn new(paths: Vec<Arc<Pool>>) -> Self {
        Self(ArcSwap::from_pointee(paths))
    }

    /// Paths are compared without regard to case, as the reference router does.
    fn find(&self, path: &str) -> Option<Arc<Pool>> {
        let covers = |prefix: &str| {
            path.get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
                && path
                    .as_bytes()
                    .get(prefix.len())
                    .is_none_or(|&next| prefix.is_empty() || next == b'/')
        };
        self.0.load().iter().find(|pool| covers(&pool.path)).cloned()
    }
}

fn remove(paths: &mut Vec<Arc<Pool>>, path: &str) {
    paths.retain(|pool| *pool.path != *path);
}

/// Host and path as they are compared: lower case, no slash at the end, a slash at the start of a non-empty path.
fn normal(key: &v1::RouteKey) -> (Box<str>, Box<str>) {
    let path = key.path.trim_matches('/').to_ascii_lowercase();
    let path = if path.is_empty() { path } else { format!("/{path}") };
    (key.host.to_ascii_lowercase().into(), path.into())
}

/// The key of a host in its shard, and whether it is a wildcard.
fn key_of(host: &str) -> (&str, bool) {
    host.strip_prefix("*.")
        .map_or((host, false), |parent| (parent, true))
}

#[cfg(test)]
mod tests;
