//! Namespaces: all of them, for every container; no setting turns one off.

use crate::oci::Namespace;

/// The seven namespaces.
pub fn namespaces() -> Vec<Namespace> {
    ["user", "pid", "mount", "network", "ipc", "uts", "cgroup"]
        .into_iter()
        .map(|kind| Namespace {
            kind: kind.to_owned(),
            path: None,
        })
        .collect()
}
