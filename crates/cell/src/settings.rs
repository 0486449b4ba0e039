//! What the daemon says about its cell.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use base::Clock;
use network::Cidr;
use rootfs::DiskQuota;

/// Settings of a cell.
#[derive(Clone)]
pub struct Settings {
    /// Who the cell is, in logs and to the scheduler.
    pub cell_id: String,
    /// Everything the cell keeps is below it; made when missing. Directories above it may be private: containers
    /// get their root filesystem by descriptor.
    pub data_dir: PathBuf,
    /// Names bridge, rules and control groups: 1 to 8 characters of a-z and 0-9, unique per data directory.
    pub tag: String,
    /// Range the containers' addresses come from.
    pub container_cidr: Cidr,
    /// What the cell offers.
    pub capacity: Capacity,
    /// What bounds what instances write.
    pub disk_quota: DiskQuota,
    /// When layers of images nobody runs are removed.
    pub collection: Collection,
    /// How registries are treated, until the scheduler says otherwise.
    pub image: image::Settings,
    /// Certificate authorities that every container finds in `/etc/cf-system-certificates`, PEM, one an entry.
    pub trusted_certificates: Vec<String>,
    /// OCI runtime that makes new containers; `None`: the built-in one.
    pub oci_runtime: Option<PathBuf>,
    /// Runs [`runtime::shim_main`] with what is appended: `["/proc/self/exe", "shim"]` for a binary that is its own.
    pub shim_command: Vec<OsString>,
    /// Runs [`rootfs::unpack_main`] with what is appended: `["/proc/self/exe", "unpack"]` likewise.
    pub unpack_command: Vec<OsString>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
}

/// What instances may have in total. What is `None` is measured: the machine's memory, what is free of the disk below
/// the data directory or taken by the cell itself, less the reserve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Memory, MiB.
    pub memory_mb: Option<u64>,
    /// Disk, MiB.
    pub disk_mb: Option<u64>,
    /// Containers; [`Capacity::CONTAINERS`] when `None`.
    pub containers: Option<u32>,
    /// Free disk below the data directory under which no instance is accepted, MiB; a twentieth of the filesystem but
    /// at most [`Capacity::DISK_RESERVE_MB`] when `None`.
    pub disk_reserve_mb: Option<u64>,
}

impl Capacity {
    /// Containers of a cell by default (cloudfoundry/garden-runc-release:jobs/garden/spec, `max_containers`).
    pub const CONTAINERS: u32 = 250;
    /// Most disk that is kept free by default, MiB.
    pub const DISK_RESERVE_MB: u64 = 2048;
}

/// When layers of images that no instance uses are removed: the least recently used first, one at a time, with pauses.
/// Until then they stay, however old: a layer that is here is not fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Removal begins when more than this part of the filesystem is used, percent.
    pub high_percent: u8,
    /// And ends at this part, percent; at most `high_percent`.
    pub low_percent: u8,
    /// Most bytes the layers may have together, MiB; layers in use stay whatever they have.
    pub image_store_mb: Option<u64>,
}

impl Default for Collection {
    fn default() -> Self {
        Self {
            high_percent: 85,
            low_percent: 75,
            image_store_mb: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("cell_id", &self.cell_id)
            .field("data_dir", &self.data_dir)
            .field("tag", &self.tag)
            .field("container_cidr", &self.container_cidr)
            .field("capacity", &self.capacity)
            .field("disk_quota", &self.disk_quota)
            .field("collection", &self.collection)
            .finish_non_exhaustive()
    }
}

/// Directories below the data directory.
///
/// ```text
/// <data_dir>/
///   layers/               see rootfs::LayerStore
///   instances/<guid>/     0711
///     rootfs/  rw/        the container's root filesystem, and what it writes
///     hosts  resolv.conf  shown in the container
///     log-position        number of the next line of output to tell
///   ledger/<guid>         0600 in 0700: what was accepted, with secrets
///   images/<hex>          what is known of the images whose layers are kept
///   network/              address leases
///   registry.json         the registry settings the cell was last told
///   trusted-certificates/ shown in every container, when there are any
///   run/<guid>/           0700: see runtime
/// ```
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) layers: PathBuf,
    pub(crate) instances: PathBuf,
    pub(crate) ledger: PathBuf,
    pub(crate) images: PathBuf,
    pub(crate) network: PathBuf,
    pub(crate) registry: PathBuf,
    pub(crate) run: PathBuf,
    pub(crate) trust: PathBuf,
}

impl Places {
    pub(crate) fn below(data_dir: &std::path::Path) -> Self {
        Self {
            layers: data_dir.join("layers"),
            instances: data_dir.join("instances"),
            ledger: data_dir.join("ledger"),
            images: data_dir.join("images"),
            network: data_dir.join("network"),
            registry: data_dir.join("registry.json"),
            run: data_dir.join("run"),
            trust: data_dir.join("trusted-certificates"),
        }
    }

    /// The directory of one instance.
    pub(crate) fn instance(&self, guid: &str) -> PathBuf {
        self.instances.join(guid)
    }
}
