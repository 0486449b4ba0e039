//! Names of kernel objects, derived from the platform's tag and the container's id.
//!
//! Nothing has to be remembered to find or remove them: the same tag and id give the same names for
//! ever, and every port of a platform starts with the platform's own prefix.

use sha2::{Digest, Sha256};

use crate::Error;

/// Start of the bridge name of every platform on a host.
pub(crate) const BRIDGE_PREFIX: &str = "slw-";

/// The network interface inside a container.
pub(crate) const INSIDE: &str = "eth0";

/// Letters and digits, without those that are easily mistaken for each other.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// The names of one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// The bridge: `slw-<tag>`.
    pub(crate) bridge: String,
    /// The nftables tables, one of family inet and one of family bridge.
    pub(crate) table: String,
    /// What the host ends of this platform's container links start with: 6 characters.
    pub(crate) port_prefix: String,
    /// The interface group that links are put in to be deleted together.
    pub(crate) doomed_group: u32,
}

impl Names {
    /// The names for `tag`: 1 to 8 characters of a-z and 0-9.
    pub(crate) fn new(tag: &str) -> Result<Self, Error> {
        let fits = (1..=8).contains(&tag.len());
        if !fits
            || !tag
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        {
            return Err(Error::Tag(tag.to_owned()));
        }
        let digest: [u8; 32] = Sha256::digest(format!("tag {tag}")).into();
        let [.., a, b, c, d] = digest;
        Ok(Self {
            bridge: format!("{BRIDGE_PREFIX}{tag}"),
            table: format!("slipway_{tag}"),
            port_prefix: format!("sv{}", letters(&digest, 4)),
            // The lowest groups are the ones administrators number by hand.
            doomed_group: u32::from_be_bytes([a, b, c, d]) | 0x4000_0000,
        })
    }

    /// The host end of the link of container `id`: at most 15 characters, the kernel's limit.
    pub(crate) fn port(&self, id: &str) -> String {
        let digest: [u8; 32] = Sha256::digest(format!("container {id}")).into();
        format!("{}{}", self.port_prefix, letters(&digest, 9))
    }
}

/// Refuses ids that could not be the content of a lease or would need escaping anywhere.
pub(crate) fn check_id(id: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=200).contains(&id.len()) && id.bytes().all(allowed) {
        Ok(())
    } else {
        Err(Error::Id(id.to_owned()))
    }
}

fn letters(digest: &[u8; 32], count: usize) -> String {
    digest
        .iter()
        .take(count)
        .map(|byte| char::from(ALPHABET.get(usize::from(byte & 31)).copied().unwrap_or(b'a')))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_do_not_change() {
        let names = Names::new("abcdefgh").unwrap();
        assert!(names.bridge.len() <= 15);
        let port = names.port("0f6ee6ab-8e2a-4d22-8dc3-d7a3c4ad6b6d");
        assert_eq!(port.len(), 15);
        assert!(port.starts_with(&names.port_prefix));
        assert_eq!(
            port,
            Names::new("abcdefgh")
                .unwrap()
                .port("0f6ee6ab-8e2a-4d22-8dc3-d7a3c4ad6b6d")
        );
        assert_ne!(names.port_prefix, Names::new("abcdefgi").unwrap().port_prefix);
    }

    #[test]
    fn bad_tags_and_ids_are_refused() {
        for tag in ["", "ABC", "a-b", "abcdefghi", "ä", "a b"] {
            assert!(Names::new(tag).is_err(), "{tag}");
        }
        for id in ["", "a/b", "a b", "a\n", &"x".repeat(201)] {
            assert!(check_id(id).is_err(), "{id}");
        }
        assert!(check_id("task-1.2_X").is_ok());
    }
}
