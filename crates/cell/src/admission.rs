//! May an instance run here: is what is asked for possible, and is there room?
//!
//! The scheduler has placed it with what it knew; the cell is where the truth is, and looks again.

use std::sync::Arc;

use wire::v1::{InstancePhase, InstanceSpec};

use crate::collection;
use crate::error::{CellError, file};
use crate::host::Host;
use crate::instance::Instance;
use crate::layers;
use crate::ledger::{Durability, Record};
use crate::phase::Phase;
use crate::settings::{Capacity, Settings};

/// What the cell has in total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) memory_mb: u64,
    pub(crate) disk_mb: u64,
    pub(crate) containers: u32,
    /// Free disk under which nothing is accepted.
    pub(crate) disk_reserve_mb: u64,
}

/// What is taken of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken {
    memory_mb: u64,
    disk_mb: u64,
    containers: u32,
}

impl Totals {
    /// What the settings say, and for the rest what the machine has. `own_bytes` are those the cell itself has on
    /// the disk: they can be freed or are counted as an instance's.
    pub(crate) fn measure(settings: &Settings, own_bytes: u64) -> Result<Self, CellError> {
        let Capacity {
            memory_mb,
            disk_mb,
            containers,
            disk_reserve_mb,
        } = settings.capacity;
        let dir = &settings.data_dir;
        let disk = collection::fill(dir, 0);
        let disk = disk.map_err(|errno| file("measure the disk of", dir)(errno.into()))?;
        let reserve_mb = disk_reserve_mb.unwrap_or_else(|| {
            let twentieth = disk.used.saturating_add(disk.free) / 20;
            (twentieth >> 20).min(Capacity::DISK_RESERVE_MB)
        });
        let measured_mb = (disk.free.saturating_add(own_bytes) >> 20).saturating_sub(reserve_mb);
        Ok(Self {
            memory_mb: match memory_mb {
                Some(memory_mb) => memory_mb,
                None => machine_memory_mb()?,
            },
            disk_mb: disk_mb.unwrap_or(measured_mb),
            containers: containers.unwrap_or(Capacity::CONTAINERS),
            disk_reserve_mb: reserve_mb,
        })
    }

    /// Why another instance does not fit, in the words of the scheduler's own auction.
    fn lacks(self, taken: Taken, spec: &InstanceSpec) -> Option<String> {
        let lacking = [
            (
                "memory",
                taken.memory_mb.saturating_add(spec.memory_mb) > self.memory_mb,
            ),
            ("disk", taken.disk_mb.saturating_add(spec.disk_mb) > self.disk_mb),
            ("containers", taken.containers >= self.containers),
        ];
        let lacking: Vec<&str> = lacking
            .iter()
            .filter(|(_, lacks)| *lacks)
            .map(|(name, _)| *name)
            .collect();
        (!lacking.is_empty()).then(|| format!("insufficient resources: {}", lacking.join(", ")))
    }
}

impl Host {
    /// Whether the disk has its reserve. What instances may write is promised to them and not set aside, so this only
    /// says no when somebody else fills the disk, or more was promised than there is.
    fn disk_has_reserve(&self) -> Result<(), String> {
        // What cannot be measured is not held against the instance.
        let Ok(disk) = collection::fill(&self.places.instances, 0) else {
            return Ok(());
        };
        let (free_mb, reserve_mb) = (disk.free >> 20, self.totals.disk_reserve_mb);
        if free_mb >= reserve_mb {
            return Ok(());
        }
        Err(format!(
            "insufficient resources: disk (the cell's filesystem has {free_mb}M free, less than the {reserve_mb}M it \
             keeps in reserve)"
        ))
    }
}

/// Takes an instance in: checked, in the ledger, on the board. `None` when it was held already.
///
/// The caller holds the door.
pub(crate) async fn admit(host: &Arc<Host>, spec: InstanceSpec) -> Result<Option<Arc<Instance>>, String> {
    let guid = spec.instance_guid.clone();
    if host.instance(&guid).is_some() {
        return Ok(None);
    }
    check(&spec)?;
    if let Some(lack) = host.totals.lacks(taken(host), &spec) {
        return Err(lack);
    }
    host.disk_has_reserve()?;
    let first_host_id = host.ids.take(&guid).ok_or("insufficient resources: user ids")?;
    let admitted = write_down(host, spec, first_host_id).await;
    match admitted {
        Ok(instance) => Ok(Some(instance)),
        Err(reason) => {
            host.ids.release(first_host_id);
            Err(reason)
        }
    }
}

async fn write_down(
    host: &Arc<Host>,
    spec: InstanceSpec,
    first_host_id: u32,
) -> Result<Arc<Instance>, String> {
    let guid = spec.instance_guid.clone();
    let record = Record {
        spec: Some(spec),
        first_host_id,
        phase: InstancePhase::Starting.into(),
        since_ns: host.now_ns(),
        ..Record::default()
    };
    let instance = Arc::new(Instance::new(host, record.clone(), Phase::Accepted)?);
    let written = host
        .blocking(move |host| host.ledger.write(&guid, &record, Durability::Power))
        .await;
    written.map_err(|error| format!("the cell's ledger cannot be written: {error}"))?;
    host.add(Arc::clone(&instance));
    host.board.publish(instance.status());
    Ok(instance)
}

fn taken(host: &Host) -> Taken {
    let live = host.instances().into_iter().filter(|instance| instance.is_live());
    live.fold(Taken::default(), |taken, instance| Taken {
        memory_mb: taken.memory_mb.saturating_add(instance.spec.memory_mb),
        disk_mb: taken.disk_mb.saturating_add(instance.spec.disk_mb),
        containers: taken.containers + 1,
    })
}

/// Refuses what could never run.
fn check(spec: &InstanceSpec) -> Result<(), String> {
    let guid = &spec.instance_guid;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if guid.is_empty() || guid.len() > 64 || !guid.bytes().all(plain) || guid.starts_with('-') {
        return Err("instance guid is not 1 to 64 letters, digits and dashes".to_owned());
    }
    if spec.argv.first().is_none_or(String::is_empty) {
        return Err("no start command".to_owned());
    }
    if spec.memory_mb == 0 {
        return Err("a memory limit of 0".to_owned());
    }
    if spec.disk_mb == 0 {
        return Err("a disk limit of 0".to_owned());
    }
    if let Some(port) = spec.ports.iter().find(|port| !(1..=65_535).contains(*port)) {
        return Err(format!("{port} is no port"));
    }
    spec.stop_signal()?;
    layers::parse(spec.image.as_ref().ok_or("no image")?).map(drop)
}

/// Reading the signal of a spec.
pub(crate) trait StopSignal {
    /// What asks the program to end.
    fn stop_signal(&self) -> Result<runtime::Signal, String>;
}

impl StopSignal for InstanceSpec {
    fn stop_signal(&self) -> Result<runtime::Signal, String> {
        if self.stop_signal.is_empty() {
            return Ok(runtime::Signal::TERM);
        }
        self.stop_signal
            .parse()
            .map_err(|error: runtime::UnknownSignal| error.to_string())
    }
}

fn machine_memory_mb() -> Result<u64, CellError> {
    const FILE: &str = "/proc/meminfo";
    let text = std::fs::read_to_string(FILE).map_err(file("read", FILE))?;
    let kilobytes = text.lines().find_map(|line| {
        let value = line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?;
        value.trim().parse::<u64>().ok()
    });
    let missing = || std::io::Error::other("it has no line MemTotal");
    kilobytes
        .map(|kilobytes| kilobytes / 1024)
        .ok_or_else(|| file("read", FILE)(missing()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::v1::Image;

    fn spec() -> InstanceSpec {
        InstanceSpec {
            instance_guid: "a-1".to_owned(),
            argv: vec!["/bin/app".to_owned()],
            memory_mb: 64,
            disk_mb: 128,
            ports: vec![8080],
            image: Some(Image::default()),
            ..InstanceSpec::default()
        }
    }

    #[test]
    fn what_lacks_is_named() {
        let totals = Totals {
            memory_mb: 100,
            disk_mb: 1000,
            containers: 2,
            disk_reserve_mb: 0,
        };
        let taken = |memory_mb, disk_mb, containers| Taken {
            memory_mb,
            disk_mb,
            containers,
        };
        assert_eq!(totals.lacks(taken(36, 872, 1), &spec()), None);
        let lacks = |taken| totals.lacks(taken, &spec()).expect("it does not fit");
        assert_eq!(
            lacks(taken(37, 0, 2)),
            "insufficient resources: memory, containers"
        );
        assert_eq!(lacks(taken(0, 873, 0)), "insufficient resources: disk");
        let endless = InstanceSpec {
            memory_mb: u64::MAX,
            ..spec()
        };
        assert!(totals.lacks(taken(1, 0, 0), &endless).is_some());
    }

    #[test]
    fn what_can_never_run_is_refused() {
        assert_eq!(check(&spec()), Ok(()));
        let broken: [fn(&mut InstanceSpec); 9] = [
            |s| s.instance_guid = "../x".to_owned(),
            |s| s.instance_guid = "x".repeat(65),
            |s| s.instance_guid = String::new(),
            |s| s.argv.clear(),
            |s| s.memory_mb = 0,
            |s| s.disk_mb = 0,
            |s| s.ports.push(70_000),
            |s| s.stop_signal = "SIGNONE".to_owned(),
            |s| s.image = None,
        ];
        for (at, spoil) in broken.iter().enumerate() {
            let mut spec = spec();
            spoil(&mut spec);
            assert!(check(&spec).is_err(), "case {at}");
        }
    }

    #[test]
    fn the_machine_has_memory() {
        assert!(machine_memory_mb().unwrap() > 0);
    }
}
