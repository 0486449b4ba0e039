//! Paths of /proc and /sys that show nothing, or cannot be written.
//!
//! Most are already closed by the user namespace; this is the second wall. List: what container engines share
//! (moby/moby:oci/defaults.go), which contains the reference's.

use super::owned;

const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Paths that show nothing.
pub fn masked() -> Vec<String> {
    owned(MASKED)
}

/// Paths that cannot be written.
pub fn readonly() -> Vec<String> {
    owned(READONLY)
}
