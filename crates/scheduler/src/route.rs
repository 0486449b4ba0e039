//! The route feed: whoever watches gets the whole table, then what changes.
//!
//! A watcher that is slow misses tables in between, never the last one: each message is the difference between what
//! it was sent and what is true when it takes the next.

use std::pin::Pin;
use std::sync::Arc;

use base::CancellationToken;
use futures_util::{Stream, stream};
use model::{RouteKey, RouteProtocol};
use planner::{Backend, RouteEntry, RouteTable, TableChange, diff};
use tokio::sync::watch;
use tracing::{debug, info};
use wire::v1::routes_server::Routes;
use wire::v1::{self, RouteUpdate, WatchRoutesRequest};
use wire::{Request, Response, Status};

type Published = Option<Arc<Edition>>;

/// One state of the table.
struct Edition {
    revision: u64,
    table: RouteTable,
}

/// The end the converger writes to.
pub(crate) struct Emitter {
    editions: watch::Sender<Published>,
    next_revision: u64,
}

/// The end routers watch.
#[derive(Clone)]
pub struct RouteFeed {
    editions: watch::Receiver<Published>,
    end: CancellationToken,
}

/// The two ends of a feed that ends with `end`. Revisions grow over restarts if `first_revision` does.
pub(crate) fn pair(first_revision: u64, end: CancellationToken) -> (Emitter, RouteFeed) {
    let (sender, editions) = watch::channel(None);
    let emitter = Emitter {
        editions: sender,
        next_revision: first_revision,
    };
    (emitter, RouteFeed { editions, end })
}

impl Emitter {
    /// Makes this the table; nothing happens if it is already.
    pub(crate) fn publish(&mut self, table: RouteTable) {
        let same = self
            .editions
            .borrow()
            .as_ref()
            .is_some_and(|known| known.table == table);
        if same {
            return;
        }
        let revision = self.next_revision;
        self.next_revision += 1;
        debug!(revision, routes = table.len(), "routes changed");
        self.editions
            .send_replace(Some(Arc::new(Edition { revision, table })));
    }
}

#[wire::async_trait]
impl Routes for RouteFeed {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<RouteUpdate, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<WatchRoutesRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        info!(
            router = request.into_inner().router_id,
            "a router watches the routes"
        );
        let state = (self.clone(), None);
        let updates = stream::unfold(state, |(mut feed, last)| async move {
            let (update, edition) = feed.next(last).await?;
            Some((Ok(update), (feed, Some(edition))))
        });
        Ok(Response::new(Box::pin(updates)))
    }
}

impl RouteFeed {
    /// The next message for a watcher that was last sent `last`; `None` at the end of the scheduler.
    async fn next(&mut self, last: Option<Arc<Edition>>) -> Option<(RouteUpdate, Arc<Edition>)> {
        loop {
            let present = self.editions.borrow_and_update().clone();
            if let Some(present) = present
                && let Some(update) = update(last.as_deref(), &present)
            {
                return Some((update, present));
            }
            // Cancel-safe: both only wait.
            tokio::select! {
                () = self.end.cancelled() => return None,
                changed = self.editions.changed() => changed.ok()?,
            }
        }
    }
}

/// What leads from `last` to `present`; `None` if they say the same.
fn update(last: Option<&Edition>, present: &Edition) -> Option<RouteUpdate> {
    let empty = RouteTable::new();
    let TableChange { upserts, removals } = diff(last.map_or(&empty, |last| &last.table), &present.table);
    let snapshot = last.is_none();
    (snapshot || !upserts.is_empty() || !removals.is_empty()).then(|| RouteUpdate {
        snapshot,
        upserts: upserts.into_iter().map(route).collect(),
        removals: removals.into_iter().map(key).collect(),
        revision: present.revision,
    })
}

fn key(key: RouteKey) -> v1::RouteKey {
    v1::RouteKey {
        host: key.host,
        path: key.path,
    }
}

fn route((to, entry): (RouteKey, RouteEntry)) -> v1::Route {
    v1::Route {
        key: Some(key(to)),
        route_guid: entry.route_guid,
        backends: entry.backends.into_iter().map(backend).collect(),
    }
}

fn backend(backend: Backend) -> v1::Backend {
    v1::Backend {
        address: backend.address.to_string(),
        protocol: match backend.protocol {
            RouteProtocol::Http1 => "http1",
            RouteProtocol::Http2 => "http2",
        }
        .to_owned(),
        app_guid: backend.app.into(),
        process_guid: backend.process.into(),
        instance_guid: backend.instance.into(),
        index: backend.index,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(hosts: &[&str]) -> RouteTable {
        let entry = |host: &&str| {
            let entry = RouteEntry {
                route_guid: format!("guid-{host}"),
                backends: Vec::new(),
            };
            (RouteKey::new(host, ""), entry)
        };
        hosts.iter().map(entry).collect()
    }

    #[tokio::test]
    async fn a_watcher_gets_the_table_then_what_it_missed() {
        let end = CancellationToken::new();
        let (mut emitter, mut feed) = pair(7, end.clone());
        emitter.publish(table(&["a"]));
        let (first, last) = feed.next(None).await.unwrap();
        assert!(first.snapshot && first.revision == 7 && first.upserts.len() == 1);
        emitter.publish(table(&["a", "b"]));
        emitter.publish(table(&["a"]));
        emitter.publish(table(&["c"]));
        let (second, last) = feed.next(Some(last)).await.unwrap();
        assert_eq!(
            (second.snapshot, second.upserts.len(), second.removals.len()),
            (false, 1, 1)
        );
        assert_eq!(second.revision, 10);
        emitter.publish(table(&["c"]));
        end.cancel();
        assert!(feed.next(Some(last)).await.is_none(), "an equal table is no news");
    }
}
