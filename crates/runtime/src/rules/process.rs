//! The program: arguments, directory, limits of its own.

use super::{capabilities, user};
use crate::oci::{Process, Rlimit};
use crate::spec::ContainerSpec;

/// The program as the bundle describes it.
pub fn process(spec: &ContainerSpec) -> Process {
    Process {
        terminal: false,
        user: user::user(spec),
        args: spec.argv.clone(),
        env: spec.env.clone(),
        cwd: if spec.cwd.is_empty() {
            "/".to_owned()
        } else {
            spec.cwd.clone()
        },
        capabilities: capabilities::capabilities(),
        rlimits: vec![
            Rlimit {
                kind: "RLIMIT_NOFILE".to_owned(),
                hard: spec.limits.nofile,
                soft: spec.limits.nofile,
            },
            // A crash writes no core file into the tenant's disk quota unless the tenant raises this.
            Rlimit {
                kind: "RLIMIT_CORE".to_owned(),
                hard: u64::MAX,
                soft: 0,
            },
        ],
        no_new_privileges: false,
    }
}
