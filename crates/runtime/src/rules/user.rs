//! Users: ids inside are shifted into the container's own range on the host.

use crate::oci::IdMapping;
use crate::spec::ContainerSpec;

/// The one line of both id maps: id 0 inside is the first of the range, which is nobody on the host.
pub fn mappings(spec: &ContainerSpec) -> Vec<IdMapping> {
    vec![IdMapping {
        container_id: 0,
        host_id: spec.id_range.first_host_id,
        size: spec.id_range.size,
    }]
}
