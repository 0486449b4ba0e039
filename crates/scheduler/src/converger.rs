//! The loop: something wakes it, it reads the world, lets the planner decide, and does it.
//!
//! What wakes it says nothing of what to do: the change feed, news from a cell, a timer, or the full pass that comes
//! anyway. One pass at a time, one transaction a pass; news that came in one go is settled in one go. A pass that fails
//! changes nothing and is tried again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::{Backoff, chain};
use model::{CellId, InstanceGuid};
use planner::converge;
use store::{Feed, StoreError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, error, info};

use crate::act::{self, Hands, Orders};
use crate::cell::{Cells, Report};
use crate::crash::{self, CrashReport, Told};
use crate::notice::{self, Source, Tone};
use crate::pinned::PinnedCache;
use crate::report::{self, Consequence};
use crate::route::Emitter;
use crate::spec::{self, Specs};
use crate::world::World;
use crate::{Settings, table};

/// News taken in before a pass; the rest waits for the next.
const NEWS: usize = 10_000;
/// After a pass, the loop rests as long as the pass took, at most this long: a storm of changes costs half a core.
const LONGEST_REST: Duration = Duration::from_millis(100);

/// The state of the loop.
pub(crate) struct Converger {
    settings: Arc<Settings>,
    cells: Cells,
    inbox: mpsc::Receiver<Report>,
    feed: Feed,
    emitter: Emitter,
    ready: Arc<AtomicBool>,
    pinned: PinnedCache,
}

/// What cells said, settled into rows and waiting to be written.
#[derive(Default)]
struct Settled {
    forget: Vec<(CellId, String)>,
    crashes: Vec<CrashReport>,
}

impl Converger {
    pub(crate) fn new(
        settings: Arc<Settings>,
        cells: Cells,
        inbox: mpsc::Receiver<Report>,
        emitter: Emitter,
        ready: Arc<AtomicBool>,
    ) -> Self {
        Self {
            feed: settings.store.feed(),
            settings,
            cells,
            inbox,
            emitter,
            ready,
            pinned: PinnedCache::default(),
        }
    }

    /// Runs until its task set ends.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut told = false;
        loop {
            self.feed.mark_unchanged();
            self.take_news();
            let started = Instant::now();
            match self.pass().await {
                Ok(wake) => {
                    backoff.reset();
                    told = false;
                    sleep(started.elapsed().min(LONGEST_REST)).await;
                    self.wait(wake).await;
                }
                Err(failure) => {
                    if !std::mem::replace(&mut told, true) {
                        error!(
                            error = chain(&failure),
                            "a pass failed; nothing was changed, it is tried again"
                        );
                    }
                    sleep(backoff.next_pause()).await;
                }
            }
        }
    }

    /// Waits for a reason to look again.
    async fn wait(&mut self, wake: Instant) {
        // Cancel-safe: `changed` and `sleep_until` only wait, and `recv` takes nothing unless it is the one that ends.
        tokio::select! {
            _ = self.feed.changed() => {}
            Some(news) = self.inbox.recv() => self.cells.hear(news),
            () = sleep_until(wake) => {}
        }
    }

    fn take_news(&mut self) {
        for _ in 0..NEWS {
            match self.inbox.try_recv() {
                Ok(news) => self.cells.hear(news),
                Err(_) => return,
            }
        }
    }

    /// One pass; returns when the next is due at the latest.
    async fn pass(&mut self) -> Result<Instant, StoreError> {
        let settings = self.settings.clone();
        let now_ns = settings.now_ns();
        let mut world = World::read(&settings.store, &mut self.pinned).await?;
        let settled = self.settle(&mut world, now_ns);
        let (states, lease_ends) = self.cells.states(settings.timing.cell_lease);
        let mut new_guid = || InstanceGuid::new(store::new_guid());
        let actions = converge(&world.snapshot(now_ns, states), &mut new_guid);
        let (orders, ending) = self.act(&mut world, actions, now_ns).await?;
        let told = self.write(&world, &settled).await?;
        // Routes before orders: nothing is sent to an instance that was asked to end.
        self.emitter.publish(table::build(&world, &self.cells, &ending));
        let wake = self.wake_at(orders.wake_ns, lease_ends);
        self.send(orders, settled);
        self.tell(told);
        self.note_ready();
        Ok(wake)
    }

    /// Brings the rows in line with what cells say.
    fn settle(&self, world: &mut World, now_ns: i64) -> Settled {
        let mut settled = Settled::default();
        for (cell, instance, reason) in self.cells.refusals() {
            report::refuse(&mut world.rows, cell, instance, (reason, now_ns));
        }
        for (cell, status) in self.cells.statuses() {
            let forget = (cell.clone(), status.instance_guid.clone());
            match report::settle(&mut world.rows, cell, status, now_ns) {
                Consequence::None => {}
                Consequence::Forget => settled.forget.push(forget),
                Consequence::Crashed(crash) => {
                    settled.forget.push(forget);
                    settled.crashes.push(*crash);
                }
            }
        }
        settled
    }

    async fn act(
        &self,
        world: &mut World,
        actions: Vec<planner::Action>,
        now_ns: i64,
    ) -> Result<(Orders, HashSet<InstanceGuid>), StoreError> {
        let mut hands = Hands {
            rows: &mut world.rows,
            pinned: &self.pinned,
            now_ns,
            orders: Orders::default(),
        };
        let (before, after) = act::split(actions);
        hands.carry_out(before, &Specs::new());
        let versions = act::versions(&after, hands.rows);
        hands.carry_out(after, &spec::load(&self.settings, &versions).await?);
        let ending = hands.ending();
        Ok((hands.orders, ending))
    }

    /// Writes what the pass changed, in one transaction.
    async fn write(&self, world: &World, settled: &Settled) -> Result<Vec<Told>, StoreError> {
        if !world.rows.is_changed() && settled.crashes.is_empty() {
            return Ok(Vec::new());
        }
        let tx = self.settings.store.write().await?;
        world.rows.write(&tx).await?;
        let mut told = Vec::new();
        for crash in &settled.crashes {
            told.extend(crash::record(&tx, crash).await?);
        }
        tx.commit().await?;
        Ok(told)
    }

    fn send(&mut self, orders: Orders, settled: Settled) {
        for (cell, instance) in settled.forget {
            self.cells.forget(&cell, &instance);
        }
        self.cells.forget_refusals();
        for (cell, instance) in orders.stop {
            let asked = self
                .cells
                .courier(&cell)
                .map(|courier| courier.stop(instance.as_str()));
            if asked == Some(true) {
                info!(%instance, %cell, "stopping");
            }
        }
        for (cell, spec) in orders.run {
            if let Some(courier) = self.cells.courier(&cell) {
                courier.run_instance(spec);
            }
        }
    }

    fn tell(&self, told: Vec<Told>) {
        for Told { app_guid, lines } in told {
            for text in lines {
                notice::line(&self.settings, &app_guid, (Source::Api, Tone::Plain), &text);
            }
        }
    }

    fn wake_at(&self, planned_ns: Option<i64>, lease_ends: Option<Instant>) -> Instant {
        let now = Instant::now();
        let full = now + self.settings.timing.converge_interval;
        let planned = planned_ns.map(|at| {
            let wait = u64::try_from(at.saturating_sub(self.settings.now_ns())).unwrap_or_default();
            now + Duration::from_nanos(wait).min(self.settings.timing.converge_interval)
        });
        [Some(full), planned, lease_ends]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(full)
    }

    fn note_ready(&self) {
        if self.cells.have_all_reported() && !self.ready.swap(true, Ordering::AcqRel) {
            debug!("all cells have reported");
        }
    }
}
