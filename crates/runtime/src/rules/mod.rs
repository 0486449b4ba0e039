//! The bundle rules: each file turns one aspect of a container into its part of an OCI bundle.
//!
//! A rule is pure: specification in, part of the bundle out. Rules do not depend on each other's order.

use std::collections::BTreeMap;

use crate::account::Account;
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

pub use capabilities::with_bounding;
pub use env::{with_defaults as environment_with_defaults, without as environment_without};
pub use limits::usual_devices;
pub use user::mappings;

/// The annotation in which bundles of earlier versions hold the user as asked for: they have no ids in `process.user`.
pub const USER: &str = "slipway.user";

/// The annotation that names, with commas, the variables that were added to the caller's environment; a command run
/// as another user gets its own.
pub const DEFAULT_ENV: &str = "slipway.default-env";

/// The annotation that holds the signal that asks the program to end.
pub const STOP_SIGNAL: &str = "org.opencontainers.image.stopSignal";

/// The annotation that names the OCI runtime that makes the container; absent means the built-in one.
pub const RUNTIME: &str = "slipway.runtime";

/// What a bundle depends on beside the specification.
pub struct Surroundings<'a> {
    /// Name of the group all containers are in.
    pub cgroup_root: &'a str,
    /// The program's user, as the image knows it.
    pub account: &'a Account,
    /// Processes of the platform inside the container.
    pub own_pids: u64,
}

/// The bundle of `spec`.
pub fn bundle(spec: &ContainerSpec, around: &Surroundings<'_>) -> oci::Spec {
    oci::Spec {
        oci_version: oci::VERSION.to_owned(),
        hostname: hostname::name(spec),
        root: oci::Root {
            path: spec.rootfs.clone(),
            readonly: false,
        },
        process: process::process(spec, around.account),
        mounts: mounts::mounts(spec),
        linux: oci::Linux {
            namespaces: namespaces::namespaces(),
            uid_mappings: user::mappings(spec),
            gid_mappings: user::mappings(spec),
            cgroups_path: limits::path(spec, around.cgroup_root),
            resources: limits::resources(spec, around.own_pids),
            seccomp: Some(seccomp::section()),
            sysctl: sysctl::settings(spec),
            masked_paths: masked::masked(),
            readonly_paths: masked::readonly(),
            devices: Vec::new(),
        },
        annotations: BTreeMap::from([
            (DEFAULT_ENV.to_owned(), env::missing(&spec.env).join(",")),
            (STOP_SIGNAL.to_owned(), spec.stop_signal.to_string()),
        ]),
        ..oci::Spec::default()
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
        let account = Account {
            uid: 1000,
            gid: 1001,
            groups: vec![29],
            home: "/".to_owned(),
            name: String::new(),
        };
        let around = Surroundings {
            cgroup_root: "slipway-test",
            account: &account,
            own_pids: 1,
        };
        let bundle = bundle(&spec, &around);
        let text = serde_json::to_string(&bundle).expect("serialises");
        let back: oci::Spec = serde_json::from_str(&text).expect("parses");
        assert_eq!(back.linux.cgroups_path, "/slipway-test/c1");
        assert_eq!(back.process.env[0], "PASSWORD=hunter2");
        assert_eq!(back.annotations[DEFAULT_ENV], "PATH,USER,HOME");
        assert_eq!(back.process.user, account.ids());
        assert!(!format!("{back:?}").contains("hunter2"));
        assert!(!format!("{spec:?}").contains("hunter2"));
    }
}
