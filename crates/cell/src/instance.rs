//! One instance the cell holds: what was asked for, where it is, and how others signal to its actor.
//!
//! Written by its actor only, one change after another; read by everybody.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use base::CancellationToken;
use model::{Digest, Layer};
use rootfs::Pin;
use tracing::{error, warn};
use wire::v1::{Exit, InstancePhase, InstanceSpec, InstanceStatus};

use crate::host::Host;
use crate::ids;
use crate::layers;
use crate::ledger::{Durability, Record};
use crate::logs::{Meter, Voice};
use crate::phase::{Event, Phase, Readiness};
use crate::stats::Looks;

/// An instance.
pub(crate) struct Instance {
    pub(crate) spec: InstanceSpec,
    pub(crate) layers: Vec<Layer>,
    pub(crate) first_host_id: u32,
    pub(crate) voice: Voice,
    pub(crate) meter: Arc<Meter>,
    pub(crate) looks: Looks,
    /// Set by whoever wants it to end.
    pub(crate) stop: CancellationToken,
    /// Set by who cannot wait for its grace period.
    pub(crate) hurry: CancellationToken,
    /// Set by the actor when the instance has ended and nothing of it is left.
    pub(crate) ended: CancellationToken,
    /// Its directory: root filesystem, network files, log position.
    pub(crate) dir: PathBuf,
    held: Mutex<Held>,
    _pin: Pin,
}

struct Held {
    phase: Phase,
    since_ns: i64,
    secrets: Secrets,
}

/// Whether the registry credentials are still needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Secrets {
    Needed,
    Dropped,
}

impl Instance {
    /// An instance of a checked spec, in a phase it has reached.
    pub(crate) fn new(host: &Host, record: Record, phase: Phase) -> Result<Self, String> {
        let spec = record.spec.ok_or("it has no spec")?;
        let layers = layers::parse(spec.image.as_ref().ok_or("it has no image")?)?;
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let voice = Voice::new(&spec, host.logs.clone(), Arc::clone(&host.settings.clock));
        Ok(Self {
            _pin: host.store.pin(&diff_ids),
            dir: host.places.instance(&spec.instance_guid),
            first_host_id: record.first_host_id,
            voice,
            layers,
            meter: Arc::default(),
            looks: Looks::default(),
            stop: CancellationToken::new(),
            hurry: CancellationToken::new(),
            ended: CancellationToken::new(),
            held: Mutex::new(Held {
                phase,
                since_ns: record.since_ns,
                secrets: Secrets::Needed,
            }),
            spec,
        })
    }

    pub(crate) fn guid(&self) -> &str {
        &self.spec.instance_guid
    }

    /// Where it is.
    pub(crate) fn phase(&self) -> Phase {
        self.held().phase.clone()
    }

    /// When its phase began, as the scheduler sees it.
    pub(crate) fn since_ns(&self) -> i64 {
        self.held().since_ns
    }

    /// Whether it still takes room.
    pub(crate) fn is_live(&self) -> bool {
        !self.held().phase.is_ended()
    }

    /// The instance's disk limit, bytes.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.spec.disk_mb.saturating_mul(1 << 20)
    }

    /// Host ids of the container, for the runtime.
    pub(crate) fn id_range(&self) -> runtime::IdRange {
        runtime::IdRange {
            first_host_id: self.first_host_id,
            size: ids::SIZE,
        }
    }

    /// What the scheduler is told.
    pub(crate) fn status(&self) -> InstanceStatus {
        let held = self.held();
        InstanceStatus {
            instance_guid: self.spec.instance_guid.clone(),
            process_guid: self.spec.process_guid.clone(),
            process_version: self.spec.process_version.clone(),
            index: self.spec.index,
            phase: held.phase.wire().into(),
            ready: held.phase.readiness() == Readiness::Ready,
            address: held
                .phase
                .address()
                .as_ref()
                .map(Ipv4Addr::to_string)
                .unwrap_or_default(),
            ports: self.spec.ports.clone(),
            since_ns: held.since_ns,
            exit: match &held.phase {
                Phase::Ended { exit } => Some(exit.clone()),
                _ => None,
            },
        }
    }

    /// What is kept of it.
    pub(crate) fn record(&self) -> Record {
        let status = self.status();
        let mut spec = self.spec.clone();
        if let (Secrets::Dropped, Some(image)) = (self.held().secrets, &mut spec.image) {
            image.username.clear();
            image.password.clear();
        }
        Record {
            spec: Some(spec),
            first_host_id: self.first_host_id,
            phase: status.phase,
            ready: status.ready,
            address: status.address,
            since_ns: status.since_ns,
            exit: status.exit,
        }
    }

    /// Moves on, keeps it and tells it. A move there is not is a defect of the actor; it is logged and not made.
    pub(crate) async fn advance(&self, host: &Arc<Host>, event: Event) {
        let durability = match event {
            Event::Stop | Event::End(_) => Durability::Power,
            _ => Durability::Process,
        };
        // Fetching is accepted, to the ledger; an end was kept before what it leaves was removed.
        let kept = matches!(event, Event::Fetch | Event::End(_));
        if !self.step(host, event) {
            return;
        }
        if !kept {
            self.keep(host, self.record(), durability).await;
        }
        host.board.publish(self.status());
    }

    /// Keeps how it ended, before anything of it is removed.
    pub(crate) async fn keep_end(&self, host: &Arc<Host>, exit: &Exit) {
        let record = Record {
            phase: InstancePhase::Ended.into(),
            ready: false,
            since_ns: host.now_ns(),
            exit: Some(exit.clone()),
            ..self.record()
        };
        self.keep(host, record, Durability::Power).await;
    }

    /// Back to acceptance: for an instance of an earlier daemon whose container is not, or not wholly, there.
    pub(crate) fn start_over(&self) {
        self.held().phase = Phase::Accepted;
    }

    /// Forgets the registry credentials at the next write.
    pub(crate) fn drop_secrets(&self) {
        self.held().secrets = Secrets::Dropped;
    }

    fn step(&self, host: &Host, event: Event) -> bool {
        let mut held = self.held();
        let before = held.phase.wire();
        match held.phase.clone().transition(event) {
            Ok(phase) => held.phase = phase,
            Err(denied) => {
                error!(instance = self.spec.instance_guid, %denied, "a defect: an impossible move");
                return false;
            }
        }
        if held.phase.wire() != before {
            held.since_ns = host.now_ns();
        }
        true
    }

    async fn keep(&self, host: &Arc<Host>, record: Record, durability: Durability) {
        let guid = self.spec.instance_guid.clone();
        let written = host
            .blocking(move |host| host.ledger.write(&guid, &record, durability))
            .await;
        if let Err(error) = written {
            let guid = self.guid();
            warn!(instance = guid, %error, "cannot keep the state of an instance; a restart now would see an older one");
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("no holder of this lock panics")
    }
}
