//! Hostname: as asked for, else the end of the container's id.
//!
//! 49 characters as the reference cuts it (cloudfoundry/guardian:rundmc/bundlerules/hostname.go); the kernel takes 64.

use crate::spec::ContainerSpec;

const LONGEST: usize = 49;

/// The name in the uts namespace.
pub fn name(spec: &ContainerSpec) -> String {
    let wanted = if spec.hostname.is_empty() {
        &spec.id
    } else {
        &spec.hostname
    };
    let skip = wanted.chars().count().saturating_sub(LONGEST);
    wanted.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_long_name_keeps_its_end() {
        let mut spec = crate::spec::tests::spec();
        spec.hostname = format!("x{}", "y".repeat(49));
        assert_eq!(super::name(&spec), "y".repeat(49));
        spec.hostname.clear();
        assert_eq!(super::name(&spec), "c1");
    }
}
