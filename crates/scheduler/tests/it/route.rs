//! Routes as a router sees them.

use std::collections::BTreeMap;
use std::path::Path;

use wire::Streaming;
use wire::v1::routes_client::RoutesClient;
use wire::v1::{RouteUpdate, WatchRoutesRequest};

use crate::cell::FakeCell;
use crate::fixture::{House, PATIENCE};

/// A router that keeps, for each host, the addresses behind it.
pub struct Router {
    updates: Streaming<RouteUpdate>,
    pub table: BTreeMap<String, Vec<String>>,
}

impl Router {
    pub async fn watch(socket: &Path) -> Self {
        let mut client = RoutesClient::new(wire::connect(socket));
        let request = WatchRoutesRequest {
            router_id: "router-0".to_owned(),
        };
        let updates = tokio::time::timeout(PATIENCE, client.watch(request))
            .await
            .unwrap();
        Self {
            updates: updates.unwrap().into_inner(),
            table: BTreeMap::new(),
        }
    }

    /// Waits until the host leads to so many backends.
    pub async fn until(&mut self, host: &str, backends: usize) {
        let wait = async {
            while self.table.get(host).map(Vec::len) != Some(backends) {
                let update = self.updates.message().await.unwrap().unwrap();
                self.apply(update);
            }
        };
        let came = tokio::time::timeout(PATIENCE, wait).await.is_ok();
        assert!(came, "{host} never had {backends} backends: {:?}", self.table);
    }

    fn apply(&mut self, update: RouteUpdate) {
        if update.snapshot {
            self.table.clear();
        }
        for key in update.removals {
            self.table.remove(&key.host);
        }
        for route in update.upserts {
            let backends = route
                .backends
                .into_iter()
                .map(|backend| backend.address)
                .collect();
            self.table.insert(route.key.unwrap().host, backends);
        }
    }
}

#[tokio::test]
async fn a_route_leads_to_what_is_running_and_ready() {
    let house = House::start().await;
    house.land().await;
    let app = house.app("shop", 2).await;
    house.map(&app.guid, "shop", "internal").await;
    let mut router = house.watch_routes().await;
    router.until("shop.apps.example", 0).await;
    assert_eq!(router.table.len(), 1, "internal names are not at the front door");
    house.start_app(&app).await;
    house.run_all(2).await;
    router.until("shop.apps.example", 2).await;
    assert!(
        router.table["shop.apps.example"]
            .iter()
            .all(|to| to.starts_with("10.200.0.") && to.ends_with(":8080"))
    );

    let first = house.cell.specs()[0].instance_guid.clone();
    house.cell.set_ready(&first, false);
    router.until("shop.apps.example", 1).await;
    house.cell.set_ready(&first, true);
    router.until("shop.apps.example", 2).await;
}

#[tokio::test]
async fn an_instance_is_off_its_route_before_it_ends() {
    let house = House::start().await;
    let app = house.running_app(2).await;
    let mut router = house.watch_routes().await;
    router.until("shop.apps.example", 2).await;
    house.cell.set_obedient(false);
    house.scale(&app, 1).await;
    router.until("shop.apps.example", 1).await;
    house
        .cell
        .until("was asked to stop one", |cell: &FakeCell| {
            cell.stopped().len() == 1
        })
        .await;
    house.stop_app(&app).await;
    router.until("shop.apps.example", 0).await;
    assert_eq!(house.cell.specs().len(), 2, "both are still ending");
}
