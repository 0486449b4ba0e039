//! The program: arguments, directory, limits of its own.

use super::{capabilities, env};
use crate::account::Account;
use crate::oci::{Process, Rlimit};
use crate::spec::ContainerSpec;

/// The program as the bundle describes it, run as `account`.
pub fn process(spec: &ContainerSpec, account: &Account) -> Process {
    Process {
        user: account.ids(),
        args: spec.argv.clone(),
        env: env::with_defaults(&spec.env, account.uid, &account.name, &account.home),
        cwd: if spec.cwd.is_empty() {
            "/".to_owned()
        } else {
            spec.cwd.clone()
        },
        capabilities: capabilities::of(account.uid),
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
        ..Process::default()
    }
}
