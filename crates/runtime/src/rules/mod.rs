//! The bundle rules: each file turns one aspect of a container into its part of an OCI bundle.
//!
//! A rule is pure: specification in, part of the bundle out. Rules do not depend on each other's order.

use std::collections::BTreeMap;

use crate::oci;
use crate::spec::ContainerSpec;

mod capabilities;
mod env;
mod hostname;
mod limits;
mod masked;
mod mounts;
mod namespaces;
mod process;
pub mod seccomp;
mod sysctl;
mod user;

pub use env::with_defaults as environment_with_defaults;

/// The annotation that holds the user as asked for (a name is looked up inside the container, where the image's
/// files can do no harm).
pub const USER: &str = "slipway.user";

/// The annotation that holds the signal that asks the program to end.
pub const STOP_SIGNAL: &str = "org.opencontainers.image.stopSignal";

/// The bundle of `spec`; its cgroups will be at `cgroup_root` below each hierarchy.
pub fn bundle(spec: &ContainerSpec, cgroup_root: &str) -> oci::Spec {
    oci::Spec {
        oci_version: oci::VERSION.to_owned(),
        hostname: hostname::name(spec),
        root: oci::Root {
            path: spec.rootfs.clone(),
            readonly: false,
        },
        process: process::process(spec),
        mounts: mounts::mounts(spec),
        linux: oci::Linux {
            namespaces: namespaces::namespaces(),
            uid_mappings: user::mappings(spec),
            gid_mappings: user::mappings(spec),
            cgroups_path: limits::path(spec, cgroup_root),
            resources: limits::resources(spec),
            seccomp: seccomp::section(),
            sysctl: sysctl::settings(spec),
            masked_paths: masked::masked(),
            readonly_paths: masked::readonly(),
        },
        annotations: BTreeMap::from([
            (USER.to_owned(), spec.user.clone()),
            (STOP_SIGNAL.to_owned(), spec.stop_signal.to_string()),
        ]),
    }
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_survives_json_and_hides_its_secrets() {
        let mut spec = crate::spec::tests::spec();
        spec.env.push("PASSWORD=hunter2".to_owned());
        let bundle = bundle(&spec, "slipway-test");
        let text = serde_json::to_string(&bundle).expect("serialises");
        let back: oci::Spec = serde_json::from_str(&text).expect("parses");
        assert_eq!(back.linux.cgroups_path, "/slipway-test/c1");
        assert_eq!(back.process.env, spec.env);
        assert!(!format!("{back:?}").contains("hunter2"));
        assert!(!format!("{spec:?}").contains("hunter2"));
    }
}
