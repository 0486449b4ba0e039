//! Whether an image's platform runs where another is wanted.
//!
//! Rule: OCI image-spec, image-index.md, "platform", with the default variants container tools agree on: a missing
//! variant means v8 for arm64, v7 for arm, v1 for amd64. A machine runs its own variant and lower ones.

use model::Platform;

/// How well an image fits: higher is better. `None` when it does not run there.
pub(crate) fn fit(wanted: &Platform, offered: &Platform) -> Option<u32> {
    let architecture = architecture(&wanted.architecture);
    if wanted.os != offered.os || architecture != self::architecture(&offered.architecture) {
        return None;
    }
    match (
        level(architecture, &wanted.variant),
        level(architecture, &offered.variant),
    ) {
        (Some(wanted), Some(offered)) => (offered <= wanted).then_some(offered),
        _ => (wanted.variant == offered.variant).then_some(0),
    }
}

/// Kernel names of architectures that some tools write, in Go's spelling.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "i386" => "386",
        "armhf" => "arm",
        other => other,
    }
}

/// The variant as a number; `None` for one that is not `v` and digits.
fn level(architecture: &str, variant: &str) -> Option<u32> {
    match (architecture, variant) {
        ("arm64", "") => Some(8),
        ("arm", "") => Some(7),
        ("amd64", "") => Some(1),
        (_, "") => Some(0),
        (_, variant) => variant.strip_prefix('v').unwrap_or(variant).parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        Platform {
            os: next(),
            architecture: next(),
            variant: next(),
        }
    }

    #[test]
    fn a_machine_runs_its_own_variant_and_lower_ones() {
        for (wanted, offered, fits) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64", "linux/x86_64", true),
            ("linux/amd64", "linux/amd64/v1", true),
            ("linux/amd64", "linux/amd64/v3", false),
            ("linux/amd64/v3", "linux/amd64/v2", true),
            ("linux/amd64", "linux/arm64", false),
            ("linux/amd64", "windows/amd64", false),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64/v8", "linux/aarch64", true),
            ("linux/arm64", "linux/arm64/v9", false),
            ("linux/arm", "linux/arm/v6", true),
            ("linux/arm/v6", "linux/arm/v7", false),
            ("linux/riscv64", "linux/riscv64", true),
            ("linux/arm64", "linux/arm64/odd", false),
        ] {
            assert_eq!(
                fit(&platform(wanted), &platform(offered)).is_some(),
                fits,
                "{wanted} {offered}"
            );
        }
    }
}
