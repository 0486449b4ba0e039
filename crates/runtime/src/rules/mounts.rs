//! Mounts: what every container has, then the caller's files.
//!
//! The order is the mount order. Facts: cloudfoundry/guardian:rundmc/bundlerules, opencontainers/runtime-spec
//! config-linux.md "Default Filesystems".

use super::owned;
use crate::oci::Mount;
use crate::spec::ContainerSpec;

/// All mounts but the root.
pub fn mounts(spec: &ContainerSpec) -> Vec<Mount> {
    // Shared memory is charged to the container, so its own limit is the only sensible size.
    let shm_size = format!("size={}", spec.limits.memory_bytes);
    let mut mounts = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]),
        mount(
            "/dev",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            &["nosuid", "noexec", "nodev", "mode=1777", &shm_size],
        ),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ];
    mounts.extend(spec.files.iter().map(|file| Mount {
        destination: file.destination.clone(),
        kind: "bind".to_owned(),
        source: file.source.to_string_lossy().into_owned(),
        options: owned(&["bind", "ro", "nosuid", "nodev"]),
    }));
    mounts
}

fn mount(destination: &str, kind: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.to_owned(),
        kind: kind.to_owned(),
        source: kind.to_owned(),
        options: owned(options),
    }
}
