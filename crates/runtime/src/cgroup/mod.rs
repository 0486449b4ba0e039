//! Control groups: limits, accounting and killing, on v1, hybrid and v2 machines.
//!
//! Every container has one group of the same path in each hierarchy that is of use. Nothing of others is touched and
//! no mount option of the machine is changed. Facts: kernel Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

mod group;
mod kill;
mod layout;
mod limits;
mod stats;

pub use group::Group;
pub use layout::{Cgroups, Hierarchy, Kind};
pub use stats::Stats;

/// A control file that could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", .path.display())]
pub struct CgroupError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CgroupError {
    let path = path.to_owned();
    move |source| CgroupError { action, path, source }
}

/// Writes one value to a control file.
fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    fs::write(path, value).map_err(failed("write", path))
}

/// The number in a control file, or after `key ` in one of its lines.
fn number(path: &Path, key: Option<&str>) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    match key {
        None => text.trim().parse().ok(),
        Some(key) => text
            .lines()
            .find_map(|line| line.split_once(' ').filter(|(name, _)| *name == key))
            .and_then(|(_, value)| value.trim().parse().ok()),
    }
}
