//! The start of a daemon: the ledger says what is wanted, the runtime what there is.
//!
//! | ledger \ container  | running        | made, not started | ended              | none                 |
//! |---------------------|----------------|-------------------|--------------------|----------------------|
//! | starting, no address| adopted        | removed, anew     | removed, anew      | rests removed, anew  |
//! | starting, address   | adopted        | removed, anew     | its end is told    | rests removed, anew  |
//! | running             | adopted        | ended: vanished   | its end is told    | ended: vanished      |
//! | stopping            | stop continued | ended: stopped    | its end is told    | ended: stopped       |
//! | ended               | removed        | removed           | removed            | –                    |
//! | (nothing)           | removed        | removed           | removed            | –                    |
//!
//! The address is noted before the program is started: a container that ended without was killed while it was made.

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

/// Takes over what earlier daemons left: every record becomes an instance, everything else is removed. What became of
/// each is found out by its own task.
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
        let host = Arc::clone(host);
        host.tasks.clone().spawn("instance", async move {
            if let Some(begin) = begin(&host, &instance).await {
                actor::live(host, instance, begin).await;
            }
        });
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
        (InstancePhase::Starting, Some(address)) => Phase::Starting { address },
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
        // A failure is reported there, and it is tried again when the instance is forgotten.
        if container::dismantle(host, &guid).await.is_ok() {
            host.ids.release(instance.first_host_id);
        }
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
    let begin = decide(&phase, &state);
    if let Begin::Anew = begin {
        // A failure is reported there; making the container says so again.
        let _ = container::dismantle(host, instance.guid()).await;
        instance.start_over();
    }
    Some(begin)
}

/// The table above.
fn decide(phase: &Phase, state: &State) -> Begin {
    let adopted = || Begin::Adopted(phase.address());
    match (phase, state) {
        (Phase::Ended { exit }, _) => Begin::Over(exit.clone()),
        (_, State::Running { .. }) => adopted(),
        (Phase::Accepted | Phase::Fetching | Phase::Preparing, _) => Begin::Anew,
        (_, State::Exited(_)) => adopted(),
        (Phase::Starting { .. }, _) => Begin::Anew,
        (Phase::Running { .. }, _) => Begin::Over(outcome::vanished()),
        (Phase::Stopping { .. }, _) => Begin::Over(outcome::stopped_early()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::{Exit, ExitCause};
    use std::time::SystemTime;

    #[test]
    fn the_table_holds() {
        let address = Ipv4Addr::new(10, 0, 0, 2);
        let at = SystemTime::UNIX_EPOCH;
        let states = [
            State::Running {
                pid: 1,
                started_at: at,
            },
            State::Created { pid: 1 },
            State::Exited(Exit {
                cause: ExitCause::Lost,
                out_of_memory: false,
                at,
            }),
            State::Gone,
        ];
        let running = Phase::Running {
            address,
            readiness: Readiness::Ready,
        };
        for (phase, expected) in [
            (Phase::Accepted, ["adopt", "anew", "anew", "anew"]),
            (Phase::Starting { address }, ["adopt", "anew", "adopt", "anew"]),
            (running, ["adopt", "vanished", "adopt", "vanished"]),
            (
                Phase::Stopping { address: None },
                ["adopt", "stopped", "adopt", "stopped"],
            ),
        ] {
            let got = states.each_ref().map(|state| match decide(&phase, state) {
                Begin::Adopted(_) => "adopt",
                Begin::Anew => "anew",
                Begin::Over(exit) if exit.crashed => "vanished",
                Begin::Over(_) => "stopped",
            });
            assert_eq!(got, expected, "{phase:?}");
        }
    }

    #[test]
    fn records_become_the_phases_they_were_written_in() {
        let record = |written: InstancePhase, address: &str| {
            let record = Record {
                phase: written.into(),
                address: address.to_owned(),
                ..Record::default()
            };
            phase(&record).wire()
        };
        assert_eq!(record(InstancePhase::Starting, ""), InstancePhase::Starting);
        assert_eq!(record(InstancePhase::Running, "10.0.0.2"), InstancePhase::Running);
        assert_eq!(record(InstancePhase::Stopping, ""), InstancePhase::Stopping);
        assert_eq!(record(InstancePhase::Ended, ""), InstancePhase::Ended);
        // A damaged one is asked from the start.
        assert_eq!(record(InstancePhase::Running, "?"), InstancePhase::Starting);
    }
}
