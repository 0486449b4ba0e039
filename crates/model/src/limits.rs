//! What one instance may use.

/// Limits of one instance. Rules: cloudfoundry/executor:depot/containerstore/helpers.go,
/// cloudfoundry/guardian:rundmc/bundlerules/limits.go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory, bytes; swap is never added.
    pub memory_bytes: u64,
    /// Writable layer plus image, bytes.
    pub disk_bytes: u64,
    /// Relative CPU weight in cgroup v1 shares (2..=262144).
    pub cpu_shares: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Open files per process.
    pub nofile: u64,
}

impl Limits {
    /// Processes and threads an instance may have by default.
    pub const PIDS: u64 = 1024;
    /// Open files a process may have by default.
    pub const NOFILE: u64 = 16384;
}

/// CPU shares for an instance with this much memory: proportional between 128 MiB and 8 GiB, as the reference
/// computes it (cloudfoundry/cloud_controller_ng:lib/cloud_controller/diego/task_cpu_weight_calculator.rb).
pub fn cpu_shares(memory_mb: u64) -> u64 {
    let weight = 100 * memory_mb.clamp(128, 8192) / 8192;
    (1024 * weight / 100).max(2)
}

#[cfg(test)]
mod tests {
    use super::cpu_shares;

    #[test]
    fn shares_follow_the_reference() {
        for (memory_mb, shares) in [(1, 10), (128, 10), (1024, 122), (8192, 1024), (100_000, 1024)] {
            assert_eq!(cpu_shares(memory_mb), shares, "{memory_mb} MiB");
        }
    }
}
