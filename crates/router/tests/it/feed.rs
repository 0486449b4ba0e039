//! The route feed over its socket.

use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use base::Tasks;
use futures_util::{Stream, StreamExt, stream};
use tokio::runtime::Runtime;
use tokio::sync::broadcast;
use wire::v1::routes_server::{Routes, RoutesServer};
use wire::v1::{Route, RouteKey, RouteUpdate, WatchRoutesRequest};
use wire::{Request, Response, Status};

use crate::fixture::{App, Router};

/// A scheduler that sends one snapshot to whoever comes, then what it is told to.
struct Scheduler {
    snapshot: RouteUpdate,
    updates: broadcast::Sender<RouteUpdate>,
}

#[wire::async_trait]
impl Routes for Scheduler {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<RouteUpdate, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<WatchRoutesRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        assert_eq!(request.into_inner().router_id, "router-0");
        let rest = stream::unfold(self.updates.subscribe(), |mut updates| async {
            Some((Ok(updates.recv().await.ok()?), updates))
        });
        let snapshot = stream::iter([Ok(self.snapshot.clone())]);
        Ok(Response::new(Box::pin(snapshot.chain(rest))))
    }
}

/// A scheduler on a runtime of its own: when that goes, its connections break as those of a killed process do.
struct Served {
    updates: broadcast::Sender<RouteUpdate>,
    runtime: Option<Runtime>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.runtime
            .take()
            .expect("only taken here")
            .shutdown_background();
    }
}

fn serve(socket: &Path, snapshot: RouteUpdate) -> Served {
    let (updates, _) = broadcast::channel(16);
    let scheduler = Scheduler {
        snapshot,
        updates: updates.clone(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let entered = runtime.enter();
    let incoming = wire::incoming(socket).unwrap();
    drop(entered);
    runtime.handle().spawn(async move {
        let service = RoutesServer::new(scheduler).max_encoding_message_size(1 << 30);
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming)
            .await
    });
    Served {
        updates,
        runtime: Some(runtime),
    }
}

fn update(snapshot: bool, revision: u64, host: &str, app: &App) -> RouteUpdate {
    let key = Some(RouteKey {
        host: host.into(),
        path: String::new(),
    });
    let route = Route {
        key,
        route_guid: host.into(),
        backends: vec![app.backend(0)],
    };
    RouteUpdate {
        snapshot,
        upserts: vec![route],
        removals: vec![],
        revision,
    }
}

#[tokio::test]
async fn the_table_follows_and_outlives_its_feed() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("routes.sock");
    let router = Router::start_unfilled(|_| {}, None).await;
    let app = App::saying("ok").await;
    let tasks = Tasks::new();
    // The router comes first; the scheduler is not there yet.
    tasks.spawn(
        "watch",
        router::watch(router.table.clone(), wire::connect(&socket), "router-0".into()),
    );
    assert_eq!(
        router.get("http://a.com/").await.status,
        503,
        "an empty table is not knowledge"
    );

    let served = serve(&socket, update(true, 1, "a.com", &app));
    router
        .until("the snapshot", |r| r.table.revision() == Some(1))
        .await;
    assert_eq!(router.get("http://a.com/").await.body, "ok");
    served.updates.send(update(false, 2, "b.com", &app)).unwrap();
    router.until("an update", |r| r.table.revision() == Some(2)).await;
    assert_eq!(router.get("http://b.com/").await.body, "ok");

    drop(served);
    for host in ["a", "b"] {
        assert_eq!(
            router.get(&format!("http://{host}.com/")).await.body,
            "ok",
            "without a feed"
        );
    }
    let _served = serve(&socket, update(true, 9, "c.com", &app));
    router
        .until("the new snapshot", |r| r.table.revision() == Some(9))
        .await;
    assert_eq!(router.get("http://c.com/").await.body, "ok");
    assert_eq!(
        router.get("http://a.com/").await.status,
        404,
        "a snapshot replaces everything"
    );
    tasks.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn large_snapshots_arrive() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("routes.sock");
    let router = Router::start_unfilled(|_| {}, None).await;
    let app = App::saying("ok").await;
    let mut snapshot = update(true, 1, "a.com", &app);
    snapshot.upserts.extend((0..50_000).map(|number| Route {
        key: Some(RouteKey {
            host: format!("app-number-{number}.example.com"),
            path: String::new(),
        }),
        route_guid: "0c6c3d1a-6b5b-4a53-93d3-9d2c86d5b4b6".into(),
        backends: vec![app.backend(number)],
    }));
    let _served = serve(&socket, snapshot);
    let tasks = Tasks::new();
    tasks.spawn(
        "watch",
        router::watch(router.table.clone(), wire::connect(&socket), "router-0".into()),
    );
    router
        .until("the snapshot", |r| r.table.revision() == Some(1))
        .await;
    assert_eq!(
        router.get("http://app-number-49999.example.com/").await.body,
        "ok"
    );
}
