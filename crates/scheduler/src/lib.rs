//! What `planner` decides, done: rows in `store` are read, cells are told, routers are informed, builds are staged.
//!
//! Knows rows, cells and registries; decides nothing itself about where instances run or when they start again.
//! The one writer of `actual_lrp` and `droplet` rows and of the outcome of builds; desired rows are the API's.
//!
//! | file | what |
//! |---|---|
//! | `settings.rs` | what the scheduler is told at start |
//! | `converger.rs` | the loop: wake, read the world, plan, write, publish, order |
//! | `world.rs`, `pinned.rs` | one reading of the database, as `planner` wants it |
//! | `rows.rs` | instance rows of one pass, changed in memory and written once |
//! | `cell.rs`, `feed.rs`, `courier.rs` | what a cell says; listening to it; telling it |
//! | `report.rs`, `crash.rs` | what a cell says → rows, crash events, log lines |
//! | `act.rs`, `spec.rs` | planner's actions → rows and orders; the sealed spec → an order |
//! | `table.rs`, `route.rs` | world → route table; the feed routers watch |
//! | `stager.rs`, `stage.rs`, `droplet.rs` | builds: which, how, and what comes out |
//! | `registry.rs` | the operator's registry settings → the image client and every cell |
//!
//! One pass of the converger is one transaction: what cells reported and what the planner decided are committed
//! together, then routes are published, then orders go out. So an instance is off the routes before its cell is asked
//! to stop it, and a kill at any point leaves rows from which the next pass goes on.

mod act;
mod cell;
mod converger;
mod courier;
mod crash;
mod droplet;
mod feed;
mod notice;
mod pinned;
mod registry;
mod report;
mod route;
mod rows;
mod settings;
mod spec;
mod stage;
mod stager;
mod table;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::Tasks;
use tokio::sync::mpsc;
use wire::v1::routes_server::RoutesServer;

pub use route::RouteFeed;
pub use settings::{OwnRegistry, Settings, Timing};

/// Reports of cells that may wait for the converger.
const INBOX: usize = 4096;

/// A handle to the running scheduler. Everything ends with the task set it was started on.
pub struct Scheduler {
    routes: RouteFeed,
    ready: Arc<AtomicBool>,
}

impl Scheduler {
    /// Starts stager, converger and a listener and a courier for each cell on `tasks`. Nothing is waited for: database
    /// and cells may be away.
    pub fn start(settings: Settings, tasks: &Tasks) -> Self {
        let settings = Arc::new(settings);
        let ready = Arc::new(AtomicBool::new(false));
        let (sender, inbox) = mpsc::channel(INBOX);
        let mut cells = cell::Cells::default();
        let mut couriers = Vec::new();
        for (id, channel) in &settings.cells {
            let courier = courier::Courier::default();
            let errand = courier.clone().run(id.clone(), channel.clone(), sender.clone());
            tasks.spawn("cell-courier", errand);
            tasks.spawn(
                "cell-feed",
                feed::follow(id.clone(), channel.clone(), sender.clone()),
            );
            couriers.push(courier.clone());
            cells.add(id.clone(), courier);
        }
        let first_revision = u64::try_from(store::now_micros(&**settings.store.clock())).unwrap_or_default();
        let (emitter, routes) = route::pair(first_revision, tasks.token());
        let converger = converger::Converger::new(settings.clone(), cells, inbox, emitter, ready.clone());
        tasks.spawn("registry settings", registry::follow(settings.clone(), couriers));
        tasks.spawn("converger", converger.run());
        tasks.spawn("stager", stager::run(settings));
        Self { routes, ready }
    }

    /// The service routers watch. It answers once the database has been read for the first time.
    pub fn routes_service(&self) -> RoutesServer<RouteFeed> {
        RoutesServer::new(self.routes.clone())
    }

    /// Whether every cell has reported all it has at least once and a pass has followed.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}
