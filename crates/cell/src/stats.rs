//! What running instances use.
//!
//! Entitlement: an instance is entitled to the share of the machine's cores that its memory is of the cell's
//! (cloudfoundry/diego-release: cores·100 / total memory MB per MB).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;
use wire::v1::{InstancePhase, InstanceUsage};

use crate::container::ROOTFS;
use crate::host::Host;
use crate::instance::Instance;

/// A look sooner than this repeats the last one: rates over less are noise.
const SOONEST: Duration = Duration::from_millis(500);
/// Measuring the disk usage that takes longer than this is a walk of files.
const DISK_WALK: Duration = Duration::from_millis(1);
/// How long what a walk found holds, at least; and that many times as long as it took.
const DISK_HOLDS: Duration = Duration::from_secs(5);
const DISK_HOLDS_TIMES: u32 = 20;

/// The last looks at an instance.
#[derive(Debug, Default)]
pub(crate) struct Looks(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    last: Option<Look>,
    disk: Option<Disk>,
}

#[derive(Clone, Debug)]
struct Look {
    at: Instant,
    cpu_nanos: u64,
    log_bytes: u64,
    usage: InstanceUsage,
}

#[derive(Clone, Copy, Debug)]
struct Disk {
    until: Instant,
    bytes: u64,
}

/// Usage of running instances among these; of all when none are named.
pub(crate) async fn usage(host: &Arc<Host>, guids: &[String]) -> Vec<InstanceUsage> {
    let instances: Vec<Arc<Instance>> = match guids {
        [] => host.instances(),
        guids => guids.iter().filter_map(|guid| host.instance(guid)).collect(),
    };
    host.blocking(move |host| {
        instances
            .iter()
            .filter_map(|instance| look(host, instance))
            .collect()
    })
    .await
}

fn look(host: &Host, instance: &Instance) -> Option<InstanceUsage> {
    if instance.phase().wire() != InstancePhase::Running {
        return None;
    }
    let now = Instant::now();
    let mut inner = instance.looks.0.lock().expect("no holder of this lock panics");
    if let Some(last) = &inner.last
        && now.duration_since(last.at) < SOONEST
    {
        return Some(last.usage.clone());
    }
    let stats = host.runtime.stats(instance.guid()).ok()?;
    let uptime_ns = u64::try_from(host.now_ns().saturating_sub(instance.since_ns())).unwrap_or(0);
    let log_bytes = instance.meter.bytes();
    let since = match &inner.last {
        Some(last) => Since {
            seconds: now.duration_since(last.at).as_secs_f64(),
            cpu_nanos: stats.cpu_nanos.saturating_sub(last.cpu_nanos),
            log_bytes: log_bytes.saturating_sub(last.log_bytes),
        },
        // The first look is at the whole life; over less than a second the start would look like a storm.
        None => Since {
            seconds: Duration::from_nanos(uptime_ns).as_secs_f64().max(1.0),
            cpu_nanos: stats.cpu_nanos,
            log_bytes,
        },
    };
    let cpu = since.cpu();
    let usage = InstanceUsage {
        instance_guid: instance.guid().to_owned(),
        time_ns: host.now_ns(),
        cpu,
        cpu_entitlement: cpu / entitled_cores(host, instance.spec.memory_mb),
        memory_bytes: stats.memory_bytes,
        disk_bytes: disk(host, instance, &mut inner, now),
        log_rate: since.log_rate(),
        uptime_ns,
    };
    inner.last = Some(Look {
        at: now,
        cpu_nanos: stats.cpu_nanos,
        log_bytes,
        usage: usage.clone(),
    });
    Some(usage)
}

/// What happened since the last look.
struct Since {
    seconds: f64,
    cpu_nanos: u64,
    log_bytes: u64,
}

impl Since {
    fn cpu(&self) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "nanoseconds of years fit a double's digits well enough"
        )]
        let used = self.cpu_nanos as f64 / 1e9;
        if self.seconds > 0.0 {
            used / self.seconds
        } else {
            0.0
        }
    }

    fn log_rate(&self) -> u64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate for people; never negative"
        )]
        let rate = (self.log_bytes as f64 / self.seconds.max(0.001)) as u64;
        rate
    }
}

/// Cores an instance of this memory is entitled to; never 0.
fn entitled_cores(host: &Host, memory_mb: u64) -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    #[expect(
        clippy::cast_precision_loss,
        reason = "megabytes and cores are far below 2^53"
    )]
    let share = memory_mb as f64 / host.totals.memory_mb.max(1) as f64 * cores as f64;
    share.max(1e-6)
}

/// The image and what the instance wrote, as its disk limit counts. Its quota knows; without one it is a walk, which is
/// not done at each look.
fn disk(host: &Host, instance: &Instance, inner: &mut Inner, now: Instant) -> u64 {
    if let Some(disk) = inner.disk
        && now < disk.until
    {
        return disk.bytes;
    }
    let before = inner.disk.map_or(0, |disk| disk.bytes);
    let now = Instant::now();
    let bytes = match host.rootfs.usage(&instance.dir, &instance.dir.join(ROOTFS)) {
        Ok(written) => written + host.fetcher.unpacked(&instance.layers),
        Err(error) => {
            debug!(instance = instance.guid(), error = %base::Report(&error), "cannot measure the disk usage");
            before
        }
    };
    let took = now.elapsed();
    let holds = if took < DISK_WALK {
        Duration::ZERO
    } else {
        DISK_HOLDS.max(took * DISK_HOLDS_TIMES)
    };
    inner.disk = Some(Disk {
        until: Instant::now() + holds,
        bytes,
    });
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second_and_never_divide_by_zero() {
        let since = |seconds| Since {
            seconds,
            cpu_nanos: 3_000_000_000,
            log_bytes: 1000,
        };
        assert!((since(2.0).cpu() - 1.5).abs() < 1e-9);
        assert_eq!(since(2.0).log_rate(), 500);
        assert!(since(0.0).cpu().abs() < 1e-9);
        assert_eq!(since(0.0).log_rate(), 1_000_000);
    }
}
