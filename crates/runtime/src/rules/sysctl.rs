//! Kernel settings of the container's own namespaces.

use std::collections::BTreeMap;

use crate::spec::ContainerSpec;

/// Any user may bind ports below 1024 and ping: the namespace is the container's own, nothing is shared.
pub fn settings(spec: &ContainerSpec) -> BTreeMap<String, String> {
    let last_group = spec.id_range.size.saturating_sub(1);
    BTreeMap::from([
        ("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned()),
        ("net.ipv4.ping_group_range".to_owned(), format!("0 {last_group}")),
    ])
}
