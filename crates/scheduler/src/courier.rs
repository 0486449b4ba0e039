//! Telling one cell what to do: orders to one cell go one after the other, cells are told side by side.
//!
//! What waits is kept by instance, so that repeating an order costs nothing and memory is bounded by the number of
//! instances. A stop or a forget that did not arrive is tried again here; a run is not, because the planner may think
//! otherwise by then, and repeats it if not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base::Backoff;
use model::CellId;
use prost::Message;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, error, info, warn};
use wire::v1::cell_client::CellClient;
use wire::v1::{ConfigureRequest, ForgetRequest, InstanceSpec, RunReply, RunRequest, StopRequest};
use wire::{Channel, Code, Response, Status};

use crate::cell::{News, Report};

/// Guids in one message.
const GUIDS: usize = 5_000;
/// Bytes of specs in one message, unless one alone is larger; receivers take 4 MiB.
const SPEC_BYTES: usize = 1 << 20;
/// How long a cell may take to answer an order. It accepts them; carrying them out is another matter.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest pause after an order did not arrive. Short, because a stop may be among what waits.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A stop the cell has heard is not repeated before.
const REPEAT_STOP: Duration = Duration::from_secs(10);

/// The way to one cell. Clones share what waits.
#[derive(Clone, Default)]
pub(crate) struct Courier(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Default)]
struct Waiting {
    orders: Orders,
    /// Stops the cell has heard, and when.
    heard: HashMap<String, Instant>,
    /// The registry settings in force, for each new connection.
    settings: Option<ConfigureRequest>,
}

#[derive(Default)]
struct Orders {
    configure: Option<ConfigureRequest>,
    stop: BTreeSet<String>,
    run: BTreeMap<String, InstanceSpec>,
    forget: BTreeSet<String>,
}

impl Courier {
    /// Asks for the end of an instance; false if the cell has been asked a short while ago.
    pub(crate) fn stop(&self, instance: &str) -> bool {
        let mut waiting = self.lock();
        // Not told to run it yet: it need not.
        waiting.orders.run.remove(instance);
        let heard = waiting.heard.get(instance);
        if heard.is_some_and(|at| at.elapsed() < REPEAT_STOP) {
            return false;
        }
        let new = waiting.orders.stop.insert(instance.to_owned());
        drop(waiting);
        self.0.wake.notify_one();
        new
    }

    /// Asks for an instance.
    pub(crate) fn run_instance(&self, spec: InstanceSpec) {
        self.lock().orders.run.insert(spec.instance_guid.clone(), spec);
        self.0.wake.notify_one();
    }

    /// Lets the cell forget an ended instance.
    pub(crate) fn forget(&self, instance: &str) {
        let mut waiting = self.lock();
        waiting.heard.remove(instance);
        waiting.orders.stop.remove(instance);
        waiting.orders.forget.insert(instance.to_owned());
        drop(waiting);
        self.0.wake.notify_one();
    }

    /// Tells the registry settings, now and on each new connection.
    pub(crate) fn configure(&self, settings: ConfigureRequest) {
        let mut waiting = self.lock();
        waiting.settings = Some(settings.clone());
        waiting.orders.configure = Some(settings);
        drop(waiting);
        self.0.wake.notify_one();
    }

    /// The cell may be a new process that has heard nothing.
    pub(crate) fn reconnected(&self) {
        let mut waiting = self.lock();
        waiting.heard.clear();
        waiting.orders.configure = waiting.settings.clone();
        drop(waiting);
        self.0.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().expect("no holder of this lock panics")
    }

    fn take(&self) -> Orders {
        let mut waiting = self.lock();
        waiting.heard.retain(|_, at| at.elapsed() < REPEAT_STOP);
        mem::take(&mut waiting.orders)
    }

    /// Brings orders to the cell for ever.
    pub(crate) async fn run(self, cell: CellId, channel: Channel, inbox: mpsc::Sender<Report>) {
        let mut round = Round {
            courier: &self,
            client: CellClient::new(channel),
            cell,
            inbox,
        };
        let mut backoff = Backoff::new(Duration::from_millis(50), LONGEST_PAUSE);
        let mut told = false;
        loop {
            let orders = self.take();
            if orders.is_empty() {
                self.0.wake.notified().await;
                continue;
            }
            match round.deliver(orders).await {
                Ok(()) => {
                    backoff.reset();
                    told = false;
                }
                Err(status) => {
                    if !mem::replace(&mut told, true) {
                        warn!(cell = %round.cell, %status, "the cell does not take orders");
                    }
                    sleep(backoff.next_pause()).await;
                }
            }
        }
    }
}

impl Orders {
    fn is_empty(&self) -> bool {
        let Self {
            configure,
            stop,
            run,
            forget,
        } = self;
        configure.is_none() && stop.is_empty() && run.is_empty() && forget.is_empty()
    }
}

struct Round<'a> {
    courier: &'a Courier,
    client: CellClient<Channel>,
    cell: CellId,
    inbox: mpsc::Sender<Report>,
}

impl Round<'_> {
    /// Settings first: what is run after them obeys them. Then stops: they make room. An error of one kind of order does
    /// not hold up the others.
    async fn deliver(&mut self, orders: Orders) -> Result<(), Status> {
        let configured = self.configure(orders.configure).await;
        let stopped = self.stop(orders.stop).await;
        let started = self.start(orders.run).await;
        let forgotten = self.forget(orders.forget).await;
        configured.and(stopped).and(started).and(forgotten)
    }

    /// A cell that does not understand the settings is told again when they change or it connects anew, not before.
    async fn configure(&mut self, settings: Option<ConfigureRequest>) -> Result<(), Status> {
        let Some(settings) = settings else { return Ok(()) };
        match answer(self.client.configure(settings.clone())).await {
            Ok(_) => debug!(cell = %self.cell, version = settings.version, "told the registry settings"),
            Err(status) if matches!(status.code(), Code::InvalidArgument | Code::Unimplemented) => {
                error!(cell = %self.cell, %status, "the cell refuses the registry settings and keeps those it has");
            }
            Err(status) => {
                let mut waiting = self.courier.lock();
                // Not over newer ones.
                waiting.orders.configure.get_or_insert(settings);
                return Err(status);
            }
        }
        Ok(())
    }

    async fn stop(&mut self, guids: BTreeSet<String>) -> Result<(), Status> {
        let guids: Vec<String> = guids.into_iter().collect();
        for (at, chunk) in guids.chunks(GUIDS).enumerate() {
            let instance_guids = chunk.to_vec();
            if let Err(status) = answer(self.client.stop(StopRequest { instance_guids })).await {
                let rest = guids.iter().skip(at * GUIDS).cloned();
                self.courier.lock().orders.stop.extend(rest);
                return Err(status);
            }
            let now = Instant::now();
            let heard = chunk.iter().map(|guid| (guid.clone(), now));
            self.courier.lock().heard.extend(heard);
            debug!(cell = %self.cell, instances = chunk.len(), "asked to stop");
        }
        Ok(())
    }

    async fn start(&mut self, specs: BTreeMap<String, InstanceSpec>) -> Result<(), Status> {
        for instances in chunks_of_specs(specs.into_values()) {
            let asked = instances.len();
            let RunReply { refused } = answer(self.client.run(RunRequest { instances })).await?;
            debug!(cell = %self.cell, instances = asked, refused = refused.len(), "asked to run");
            for refusal in refused {
                info!(cell = %self.cell, instance = refusal.instance_guid, reason = refusal.reason, "refused");
                let news = News::Refused {
                    instance: refusal.instance_guid,
                    reason: refusal.reason,
                };
                let cell = self.cell.clone();
                // Nobody listens only while everything ends.
                let _ = self.inbox.send(Report { cell, news }).await;
            }
        }
        Ok(())
    }

    async fn forget(&mut self, guids: BTreeSet<String>) -> Result<(), Status> {
        let guids: Vec<String> = guids.into_iter().collect();
        for (at, chunk) in guids.chunks(GUIDS).enumerate() {
            let instance_guids = chunk.to_vec();
            if let Err(status) = answer(self.client.forget(ForgetRequest { instance_guids })).await {
                let rest = guids.iter().skip(at * GUIDS).cloned();
                self.courier.lock().orders.forget.extend(rest);
                return Err(status);
            }
        }
        Ok(())
    }
}

async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    match timeout(ANSWER, call).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!(
            "no answer within {} s",
            ANSWER.as_secs()
        ))),
    }
}

fn chunks_of_specs(specs: impl Iterator<Item = InstanceSpec>) -> Vec<Vec<InstanceSpec>> {
    let mut chunks: Vec<Vec<InstanceSpec>> = Vec::new();
    let mut bytes = 0;
    for spec in specs {
        let size = spec.encoded_len();
        match chunks.last_mut() {
            Some(chunk) if bytes + size <= SPEC_BYTES => chunk.push(spec),
            _ => {
                bytes = 0;
                chunks.push(vec![spec]);
            }
        }
        bytes += size;
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(guid: &str, bytes: usize) -> InstanceSpec {
        InstanceSpec {
            instance_guid: guid.to_owned(),
            workdir: "x".repeat(bytes),
            ..InstanceSpec::default()
        }
    }

    #[test]
    fn messages_stay_below_what_receivers_take() {
        let sizes = [400_000, 400_000, 400_000, 3_000_000, 10];
        let chunks = chunks_of_specs(sizes.iter().map(|&size| spec("i", size)));
        let lengths: Vec<usize> = chunks.iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 1, 1, 1]);
    }

    #[test]
    fn settings_are_told_on_every_connection() {
        let courier = Courier::default();
        courier.reconnected();
        assert!(courier.take().is_empty(), "none are known yet");
        let settings = |version| ConfigureRequest {
            version,
            ..ConfigureRequest::default()
        };
        courier.configure(settings(1));
        courier.configure(settings(2));
        assert_eq!(courier.take().configure, Some(settings(2)));
        assert!(courier.take().is_empty());
        courier.reconnected();
        assert_eq!(courier.take().configure, Some(settings(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_takes_back_a_run_and_is_not_repeated_while_heard() {
        let courier = Courier::default();
        courier.run_instance(spec("i", 0));
        assert!(courier.stop("i") && !courier.stop("i"));
        let orders = courier.take();
        assert!(orders.run.is_empty() && orders.stop.len() == 1);
        courier.lock().heard.insert("i".to_owned(), Instant::now());
        assert!(!courier.stop("i"));
        tokio::time::advance(REPEAT_STOP).await;
        assert!(courier.stop("i"), "after a while it is");
        courier.lock().heard.insert("j".to_owned(), Instant::now());
        courier.reconnected();
        assert!(courier.stop("j"), "a new connection is told anew");
    }
}
