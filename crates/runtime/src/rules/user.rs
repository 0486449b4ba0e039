//! Users: ids inside are shifted into the container's own range on the host.

use crate::oci::{IdMapping, User};
use crate::spec::ContainerSpec;

/// The one line of both id maps: id 0 inside is the first of the range, which is nobody on the host.
pub fn mappings(spec: &ContainerSpec) -> Vec<IdMapping> {
    vec![IdMapping {
        container_id: 0,
        host_id: spec.id_range.first_host_id,
        size: spec.id_range.size,
    }]
}

/// The ids when they are given as numbers; a name is resolved inside (see [`super::USER`]).
pub fn user(spec: &ContainerSpec) -> User {
    let (user, group) = spec.user.split_once(':').unwrap_or((&spec.user, ""));
    User {
        uid: user.parse().unwrap_or(0),
        gid: group.parse().unwrap_or(0),
    }
}
