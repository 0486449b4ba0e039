//! Making a container of an instance, and leaving nothing of it.
//!
//! Order of making: address, root filesystem, container (namespaces, nothing runs), network, program. Taking apart is the
//! reverse; each step is fine with what is not there, so it serves for containers that were half made, too.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::{Backoff, Report};
use model::{Digest, Limits, cpu_shares};
use rootfs::{Quota, RootfsSpec};
use runtime::{BindFile, ContainerSpec};
use tracing::{error, warn};

use crate::address;
use crate::admission::StopSignal;
use crate::env::environment;
use crate::error::{CellError, file};
use crate::host::{Host, make_dir};
use crate::ids;
use crate::instance::Instance;
use crate::outcome::Failure;
use crate::trust::{self, Trust};

/// Where an instance's root filesystem is, in its directory.
pub(crate) const ROOTFS: &str = "rootfs";
const HOSTS: &str = "hosts";
const RESOLV_CONF: &str = "resolv.conf";
/// Where the pump notes how far it got.
pub(crate) const LOG_POSITION: &str = "log-position";
/// How often taking apart is tried before it is left to the next sweep.
const ATTEMPTS: u32 = 5;

/// Makes the container up to the point where its program can be started; its address.
pub(crate) async fn build(host: &Arc<Host>, instance: &Arc<Instance>) -> Result<Ipv4Addr, Failure> {
    let owned = Arc::clone(instance);
    let address = host.blocking(move |host| prepare(host, &owned)).await?;
    let spec = container_spec(host, instance, address).map_err(Failure::app)?;
    let pid = match host.runtime.create(&spec).await {
        Ok(pid) => pid,
        Err(error @ (runtime::Error::Invalid { .. } | runtime::Error::Start { .. })) => {
            return Err(Failure::app(Report(&error).to_string()));
        }
        Err(error) => return Err(platform(&error)),
    };
    reattach(host, instance.guid(), pid)
        .await
        .map_err(|error| platform(&error))
}

/// Gives a container its network, or what it lost of it; its address.
pub(crate) async fn reattach(host: &Arc<Host>, guid: &str, pid: i32) -> Result<Ipv4Addr, network::Error> {
    let guid = guid.to_owned();
    let pid = u32::try_from(pid).unwrap_or(0);
    let attached = host.blocking(move |host| host.network.attach(&guid, pid)).await;
    attached.map(|attached| attached.address)
}

/// Removes everything derived from the guid: container, network, mounts, files. Tries again after a fault; what is
/// left then is removed when the cell is opened next.
pub(crate) async fn dismantle(host: &Arc<Host>, guid: &str) -> Result<(), CellError> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    let mut attempt = 1;
    loop {
        match try_dismantle(host, guid).await {
            Ok(()) => return Ok(()),
            Err(failure) if attempt == ATTEMPTS => {
                error!(instance = guid, error = %Report(&failure), "cannot remove what is left of an instance");
                return Err(failure);
            }
            Err(failure) => warn!(instance = guid, error = %Report(&failure), "removing an instance again"),
        }
        attempt += 1;
        tokio::time::sleep(backoff.next_pause()).await;
    }
}

async fn try_dismantle(host: &Arc<Host>, guid: &str) -> Result<(), CellError> {
    host.runtime.delete(guid).await?;
    let guid = guid.to_owned();
    host.blocking(move |host| {
        host.network.detach(&guid)?;
        let dir = host.places.instance(&guid);
        host.rootfs.unmount(&dir.join(ROOTFS))?;
        host.rootfs.discard(&dir)?;
        // Never followed by mistake into a mount: the root filesystem is off, and what is left are plain files.
        for name in [HOSTS, RESOLV_CONF, LOG_POSITION] {
            remove(&dir.join(name), |path| fs::remove_file(path))?;
        }
        remove(&dir, |path| fs::remove_dir(path))
    })
    .await
}

fn remove(path: &Path, how: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), CellError> {
    match how(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Address, directory, root filesystem and network files.
fn prepare(host: &Host, instance: &Instance) -> Result<Ipv4Addr, Failure> {
    host.note_use(instance);
    let writable_bytes = writable_bytes(host, instance)?;
    let address = address::reserve(&host.network, instance.guid()).map_err(|error| platform(&error))?;
    make_dir(&instance.dir, 0o711).map_err(|error| platform(&error))?;
    let hosts = network::hosts(address, instance.guid());
    for (name, content) in [(RESOLV_CONF, host.network.resolv_conf()), (HOSTS, hosts)] {
        write(&instance.dir.join(name), &content).map_err(|error| platform(&error))?;
    }
    let layers: Vec<Digest> = instance
        .layers
        .iter()
        .map(|layer| layer.diff_id.clone())
        .collect();
    let spec = RootfsSpec {
        layers: &layers,
        instance_dir: &instance.dir,
        writable_bytes: Some(writable_bytes),
        id_range: rootfs::IdRange {
            first_host_id: instance.first_host_id,
            size: ids::SIZE,
        },
        target: &instance.dir.join(ROOTFS),
    };
    host.rootfs.assemble(&spec).map_err(|error| platform(&error))?;
    Ok(address)
}

/// What an instance may write: its disk limit, of which the image takes its part.
fn writable_bytes(host: &Host, instance: &Instance) -> Result<u64, Failure> {
    let (image, limit) = (host.fetcher.unpacked(&instance.layers), instance.disk_bytes());
    let writable = limit.saturating_sub(image);
    if writable >= Quota::SMALLEST {
        return Ok(writable);
    }
    Err(Failure::app(format!(
        "the unpacked image leaves no room to write in disk quota {image}/{limit} bytes ({}M of {}M): raise it with \
         `cf scale -k` or use a smaller image",
        image.div_ceil(1 << 20),
        limit >> 20
    )))
}

fn container_spec(host: &Host, instance: &Instance, address: Ipv4Addr) -> Result<ContainerSpec, String> {
    let spec = &instance.spec;
    let bind = |name: &str| BindFile {
        source: instance.dir.join(name),
        destination: format!("/etc/{name}"),
    };
    let mut files = vec![bind(HOSTS), bind(RESOLV_CONF)];
    if let Trust::In(dir) = &host.trust {
        files.push(BindFile {
            source: dir.clone(),
            destination: trust::INSIDE.to_owned(),
        });
    }
    Ok(ContainerSpec {
        id: instance.guid().to_owned(),
        rootfs: instance.dir.join(ROOTFS),
        id_range: instance.id_range(),
        argv: spec.argv.clone(),
        env: environment(spec, address, &host.trust),
        cwd: spec.workdir.clone(),
        user: spec.user.clone(),
        hostname: instance.guid().to_owned(),
        limits: Limits {
            memory_bytes: spec.memory_mb.saturating_mul(1 << 20),
            disk_bytes: instance.disk_bytes(),
            cpu_shares: cpu_shares(spec.memory_mb),
            pids: Limits::PIDS,
            nofile: Limits::NOFILE,
        },
        files,
        stop_signal: spec.stop_signal()?,
    })
}

fn write(path: &Path, content: &str) -> Result<(), CellError> {
    fs::write(path, content).map_err(file("write", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(file("set the mode of", path))
}

fn platform(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::platform(format!("failed to create container: {}", Report(error)))
}
