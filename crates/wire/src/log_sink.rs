//! The sending end of log lines: takes envelopes from anywhere without ever making the caller wait, and brings them to
//! the log store in batches.
//!
//! A batch is one call, whose reply means "stored"; until then it is kept and sent again, so a store that is away for a
//! while loses nothing that fits the queue (and a reply that got lost repeats a batch). What does not fit is counted by
//! source: the next batch carries a line `N log lines were dropped` for each, so that readers see the gap.

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{Backoff, CancellationToken, Tasks};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::transport::Channel;
use tracing::{debug, warn};

use crate::v1::logs_client::LogsClient;
use crate::v1::{Envelope, EnvelopeBatch};

/// Envelopes and bytes that may wait.
const QUEUE: usize = 10_000;
const QUEUE_BYTES: usize = 16 << 20;
/// Envelopes and bytes of one batch; the receiver takes messages of up to 4 MiB.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 1 << 20;
/// How long a batch waits for company.
const LINGER: Duration = Duration::from_millis(20);
/// A call that takes longer is given up and repeated.
const CALL: Duration = Duration::from_secs(10);
/// What may be spent at the end to bring away what waits.
const FAREWELL: Duration = Duration::from_secs(2);
/// Sources whose losses are told apart; losses of others are only summed.
const LOSERS: usize = 1_000;

/// A handle to the sender; clones share it.
#[derive(Clone)]
pub struct LogSink {
    queue: mpsc::Sender<Envelope>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    lost: Mutex<Lost>,
}

#[derive(Default)]
struct Lost {
    total: u64,
    by_source: HashMap<String, (u64, i64)>,
}

impl LogSink {
    /// Starts the sender in `tasks`; it ends with them, after a short attempt to bring away what waits.
    pub fn start(tasks: &Tasks, channel: Channel) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let sender = Sender {
            waiting,
            shared: shared.clone(),
            client: LogsClient::new(channel),
            batch: EnvelopeBatch::default(),
            carry: None,
        };
        tasks.spawn_graceful("log-sink", sender.run(tasks.token()));
        Self { queue, shared }
    }

    /// Queues an envelope. Never blocks: when the queue is full, the envelope is dropped and the loss told later.
    pub fn emit(&self, envelope: Envelope) {
        let size = envelope.encoded_len();
        let queued = self.shared.queued_bytes.fetch_add(size, Ordering::Relaxed);
        let refused = if size > BATCH_BYTES || queued.saturating_add(size) > QUEUE_BYTES {
            Some(envelope)
        } else {
            self.queue
                .try_send(envelope)
                .err()
                .map(mpsc::error::TrySendError::into_inner)
        };
        if let Some(envelope) = refused {
            self.shared.queued_bytes.fetch_sub(size, Ordering::Relaxed);
            self.shared.lose(envelope);
        }
    }
}

impl Shared {
    fn lose(&self, envelope: Envelope) {
        let mut lost = self.lost.lock().expect("no holder of this lock panics");
        lost.total += 1;
        if lost.by_source.len() < LOSERS || lost.by_source.contains_key(&envelope.source_id) {
            let (count, last) = lost.by_source.entry(envelope.source_id).or_default();
            *count += 1;
            *last = envelope.timestamp_ns.max(*last);
        }
    }

    fn take_lost(&self) -> Lost {
        mem::take(&mut *self.lost.lock().expect("no holder of this lock panics"))
    }
}

struct Sender {
    waiting: mpsc::Receiver<Envelope>,
    shared: Arc<Shared>,
    client: LogsClient<Channel>,
    /// Gathered but not yet acknowledged.
    batch: EnvelopeBatch,
    /// Taken from the queue but too large for the current batch.
    carry: Option<Envelope>,
}

impl Sender {
    async fn run(mut self, cancel: CancellationToken) {
        // Cancel-safe: what was gathered or is under way is in `self`, not in the dropped future.
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.serve() => {}
        }
        if timeout(FAREWELL, self.drain()).await.is_err() {
            warn!(
                lines = self.waiting.len() + self.batch.envelopes.len(),
                "log lines were not delivered at the end"
            );
        }
    }

    async fn serve(&mut self) {
        while self.gather().await {
            self.deliver().await;
        }
    }

    async fn drain(&mut self) {
        self.waiting.close();
        self.deliver().await;
        self.serve().await;
    }

    /// Fills the batch; `false` when all handles are gone and nothing is left.
    async fn gather(&mut self) -> bool {
        let mut bytes = 0;
        let mut deadline = None;
        while self.batch.envelopes.len() < BATCH {
            let next = match (self.carry.take(), deadline) {
                (Some(envelope), _) => Some(envelope),
                (None, None) => self.waiting.recv().await,
                (None, Some(deadline)) => timeout_at(deadline, self.waiting.recv()).await.ok().flatten(),
            };
            let Some(envelope) = next else { break };
            let size = envelope.encoded_len();
            if bytes + size > BATCH_BYTES && bytes > 0 {
                self.carry = Some(envelope);
                break;
            }
            bytes += size;
            self.shared.queued_bytes.fetch_sub(size, Ordering::Relaxed);
            self.batch.envelopes.push(envelope);
            deadline.get_or_insert_with(|| Instant::now() + LINGER);
        }
        self.confess();
        !self.batch.envelopes.is_empty()
    }

    /// Adds what was lost since the last batch.
    fn confess(&mut self) {
        let lost = self.shared.take_lost();
        self.batch.dropped += lost.total;
        self.batch.envelopes.extend(
            lost.by_source
                .into_iter()
                .map(|(source_id, (count, timestamp_ns))| Envelope {
                    timestamp_ns,
                    source_id,
                    source_type: "LGR".into(),
                    payload: format!("{count} log lines were dropped").into_bytes(),
                    error: true,
                    ..Envelope::default()
                }),
        );
    }

    /// Sends the batch until it is acknowledged.
    async fn deliver(&mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        while !self.batch.envelopes.is_empty() {
            let call = self
                .client
                .ingest(futures_util::stream::iter([self.batch.clone()]));
            match timeout(CALL, call).await {
                Ok(Ok(_)) => self.batch = EnvelopeBatch::default(),
                Ok(Err(status)) => {
                    debug!(%status, "the log store did not take a batch");
                    sleep(backoff.next_pause()).await;
                }
                Err(_) => debug!("the log store did not answer in time"),
            }
        }
    }
}
