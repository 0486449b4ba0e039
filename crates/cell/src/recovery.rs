//! The start of a daemon: the ledger says what is wanted, the runtime what there is.
//!
//! | ledger \ container | running        | made, not started | ended              | none                        |
//! |--------------------|----------------|-------------------|--------------------|-----------------------------|
//! | starting           | adopted        | removed, anew     | its end is told    | what is left removed, anew  |
//! | running            | adopted        | ended: vanished   | its end is told    | ended: vanished             |
//! | stopping           | stop continued | ended: stopped    | its end is told    | ended: stopped              |
//! | ended              | removed        | removed           | removed            | –                           |
//! | (nothing)          | removed        | removed           | removed            | –                           |

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use base::Report;
use runtime::State;
use tokio::time::timeout;
use tracing::{info, warn};
use wire::v1::InstancePhase;

use crate::actor::{self, Begin};
use crate::container;
use crate::error::{CellError, file};
use crate::host::Host;
use crate::instance::Instance;
use crate::ledger::Record;
use crate::outcome;
use crate::phase::{Phase, Readiness};

/// How long the container of one instance may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(40);

/// Takes over what earlier daemons left: every record becomes an instance, everything else is removed.
pub(crate) async fn recover(host: &Arc<Host>) -> Result<(), CellError> {
    let mut instances = Vec::new();
    for (guid, record) in host.ledger.read()? {
        match Instance::new(host, record.clone(), phase(&record)) {
            Ok(instance) => {
                host.ids.adopt(record.first_host_id);
                let instance = Arc::new(instance);
                host.add(Arc::clone(&instance));
                host.board.publish(instance.status());
                instances.push(instance);
            }
            Err(reason) => {
                warn!(
                    instance = guid,
                    reason, "forgetting an instance whose record makes no sense"
                );
                host.ledger
                    .remove(&guid)
                    .map_err(file("remove", &host.places.ledger))?;
            }
        }
    }
    remove_strangers(host).await?;
    for instance in instances {
        let begin = begin(host, &instance).await;
        if let Some(begin) = begin {
            start(host, instance, begin);
        }
    }
    Ok(())
}

/// Hands an instance to its actor.
pub(crate) fn start(host: &Arc<Host>, instance: Arc<Instance>, begin: Begin) {
    host.tasks
        .spawn("instance", actor::live(Arc::clone(host), instance, begin));
}

/// Removes containers, links and directories of no instance held.
pub(crate) async fn remove_strangers(host: &Arc<Host>) -> Result<(), CellError> {
    for guid in leftovers(host)?.difference(&host.guids()) {
        info!(instance = guid, "removing what is left of an unknown instance");
        // Reported there; the next start tries again.
        let _ = container::dismantle(host, guid).await;
    }
    let keep = host.guids();
    host.blocking(move |host| host.network.sweep(&keep)).await?;
    Ok(())
}

/// The guids of everything found in the kernel and on disk.
fn leftovers(host: &Host) -> Result<HashSet<String>, CellError> {
    let mut guids: HashSet<String> = host.runtime.list()?.into_iter().collect();
    guids.extend(host.network.list().into_iter().map(|(guid, _)| guid));
    let dir = &host.places.instances;
    for entry in std::fs::read_dir(dir).map_err(file("list", dir))? {
        let name = entry.map_err(file("list", dir))?.file_name();
        guids.extend(name.into_string());
    }
    Ok(guids)
}

/// The phase a record stands for, before its container was asked.
fn phase(record: &Record) -> Phase {
    let address = record.address.parse::<Ipv4Addr>().ok();
    let readiness = if record.ready {
        Readiness::Ready
    } else {
        Readiness::NotReady
    };
    match (record.phase(), address) {
        (InstancePhase::Running, Some(address)) => Phase::Running { address, readiness },
        (InstancePhase::Stopping, address) => Phase::Stopping { address },
        (InstancePhase::Ended, _) => Phase::Ended {
            exit: record.exit.clone().unwrap_or_default(),
        },
        _ => Phase::Accepted,
    }
}

/// Where the actor of an instance of an earlier daemon begins; `None` for one that has ended.
async fn begin(host: &Arc<Host>, instance: &Arc<Instance>) -> Option<Begin> {
    let phase = instance.phase();
    if phase.is_ended() {
        let guid = instance.guid().to_owned();
        // Reported there; it is tried again when the instance is forgotten.
        let _ = container::dismantle(host, &guid).await;
        host.ids.release(instance.first_host_id);
        instance.ended.cancel();
        return None;
    }
    if let Phase::Stopping { .. } = phase {
        instance.stop.cancel();
    }
    let state = match timeout(PATIENCE, host.runtime.state(instance.guid())).await {
        Ok(Ok(state)) => state,
        Ok(Err(error)) => {
            warn!(instance = instance.guid(), error = %Report(&error), "cannot ask a container how it is");
            State::Gone
        }
        Err(_) => State::Gone,
    };
    info!(
        instance = instance.guid(),
        ?state,
        ?phase,
        "found an instance of an earlier daemon"
    );
    let was_started = matches!(state, State::Running { .. } | State::Exited(_));
    Some(match phase {
        _ if was_started => Begin::Adopted(phase.address()),
        Phase::Accepted => {
            let _ = container::dismantle(host, instance.guid()).await;
            Begin::Anew
        }
        Phase::Stopping { .. } => Begin::Over(outcome::stopped_early()),
        _ => Begin::Over(outcome::vanished()),
    })
}
