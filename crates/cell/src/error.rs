//! Why a cell cannot work, in words for the operator.

use std::io;
use std::path::PathBuf;

/// A failure of the cell as a whole; failures of single instances are told as their end.
#[derive(Debug, thiserror::Error)]
pub enum CellError {
    /// The range of addresses for containers.
    #[error("--container-network: {0}; give one such as 10.200.0.0/16")]
    Range(String),
    /// A file or directory of the cell.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried, a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The registry client.
    #[error("the registry client cannot be made")]
    Image(#[from] image::SettingsError),
    /// The store of layers.
    #[error("the layer store cannot be used")]
    Layers(#[from] rootfs::StoreError),
    /// The bound on what instances write.
    #[error("--disk-quota")]
    DiskQuota(#[from] rootfs::QuotaError),
    /// Root filesystems.
    #[error("root filesystems cannot be made")]
    Rootfs(#[from] rootfs::AssembleError),
    /// The network of containers.
    #[error("the container network cannot be used")]
    Network(#[from] network::Error),
    /// The container runtime.
    #[error("the container runtime cannot be used")]
    Runtime(#[from] runtime::Error),
    /// Containers that did not end in time.
    #[error("{0} instances did not end in time; run the same command again")]
    StillRunning(usize),
}

impl CellError {
    /// Whether somebody else took the range of addresses first: another may be free.
    pub fn is_range_taken(&self) -> bool {
        matches!(self, Self::Network(network::Error::Overlap { .. }))
    }
}

/// For `map_err` on an operation on a file.
pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> CellError {
    let path = path.into();
    move |source| CellError::File { action, path, source }
}
