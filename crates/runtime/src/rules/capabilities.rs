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

/// The sets of a program run as user `uid`.
pub fn of(uid: u32) -> Capabilities {
    with_bounding(owned(GRANTED), uid)
}

/// The sets of a program run as user `uid` where nothing may ever have more than `bounding`.
pub fn with_bounding(bounding: Vec<String>, uid: u32) -> Capabilities {
    let own = if uid == 0 { bounding.clone() } else { Vec::new() };
    Capabilities {
        effective: own.clone(),
        permitted: own,
        bounding,
        ..Capabilities::default()
    }
}
