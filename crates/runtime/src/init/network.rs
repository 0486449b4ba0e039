//! What the network namespace needs before the caller attaches links to it.

use std::fs::File;
use std::io::Write;
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::{During, Failure};
use crate::oci::Spec;

/// Brings loopback up and writes the kernel settings, through the /proc just mounted.
pub(super) fn configure(root: BorrowedFd<'_>, spec: &Spec) -> Result<(), Failure> {
    if spec.linux.makes("network") {
        sys::loopback::raise_loopback().during("bring up the loopback device")?;
    }
    for (name, value) in &spec.linux.sysctl {
        let path = format!("proc/sys/{}", name.replace('.', "/"));
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let setting =
            openat2(root, path, flags, Mode::empty(), resolve).during(format!("open the setting {name}"))?;
        File::from(setting)
            .write_all(value.as_bytes())
            .during(format!("set {name} to {value}"))?;
    }
    Ok(())
}
