//! Capabilities: the fourteen every container engine grants, inside the user namespace only.
//!
//! A program run as another user has none until it runs a set-user-id file or one with file capabilities; the
//! inheritable and ambient sets stay empty. List: cloudfoundry/guardian:guardiancmd/command_linux.go.

use super::owned;
use crate::oci::Capabilities;

const GRANTED: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The sets of the program.
pub fn capabilities() -> Capabilities {
    Capabilities {
        bounding: owned(GRANTED),
        effective: owned(GRANTED),
        permitted: owned(GRANTED),
        ..Capabilities::default()
    }
}
