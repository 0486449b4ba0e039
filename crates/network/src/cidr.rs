//! IPv4 networks in CIDR notation.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 network: address bits below the prefix are always zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    base: u32,
    prefix: u8,
}

/// Text that is not an IPv4 network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an IPv4 network like 10.255.0.0/16")]
pub struct NotACidr(String);

impl Cidr {
    /// The network of `prefix` bits that holds `address`; prefixes above 32 count as 32.
    pub const fn new(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = if prefix > 32 { 32 } else { prefix };
        Self {
            base: address.to_bits() & mask_bits(prefix),
            prefix,
        }
    }

    /// Number of leading bits that are the network.
    pub const fn prefix_len(self) -> u8 {
        self.prefix
    }

    /// The lowest address.
    pub const fn first(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base)
    }

    /// The highest address.
    pub const fn last(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base | !mask_bits(self.prefix))
    }

    /// The network mask.
    pub const fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(mask_bits(self.prefix))
    }

    /// Whether `address` is inside.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (self.first()..=self.last()).contains(&address)
    }

    /// Whether any address is in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.first() <= other.last() && other.first() <= self.last()
    }

    /// The host's own address in the network: the one after the lowest.
    pub const fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base.wrapping_add(1))
    }

    /// Addresses a container may have: all but the lowest, the gateway and the broadcast address.
    pub(crate) const fn container_range(self) -> (u32, u32) {
        (self.base.wrapping_add(2), self.last().to_bits().wrapping_sub(1))
    }
}

const fn mask_bits(prefix: u8) -> u32 {
    if prefix == 0 { 0 } else { u32::MAX << (32 - prefix) }
}

impl FromStr for Cidr {
    type Err = NotACidr;

    fn from_str(text: &str) -> Result<Self, NotACidr> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
            Some(Self::new(address.parse().ok()?, prefix))
        };
        parse().ok_or_else(|| NotACidr(text.to_owned()))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first(), self.prefix)
    }
}

/// Merges networks into disjoint, ascending ranges of first and last address.
pub(crate) fn merge(networks: &[Cidr]) -> Vec<(u32, u32)> {
    let mut sorted: Vec<(u32, u32)> = networks
        .iter()
        .map(|network| (network.first().to_bits(), network.last().to_bits()))
        .collect();
    sorted.sort_unstable();
    let mut merged: Vec<(u32, u32)> = Vec::with_capacity(sorted.len());
    for (first, last) in sorted {
        match merged.last_mut() {
            Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn text_is_read_and_normalised() {
        assert_eq!(cidr("10.255.3.4/16").to_string(), "10.255.0.0/16");
        assert_eq!(cidr("0.0.0.0/0").last(), Ipv4Addr::BROADCAST);
        for bad in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0/8",
            "::1/64",
            "10.0.0.0/-1",
            "a/b",
        ] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn overlap_is_symmetric() {
        for (left, right, expected) in [
            ("10.0.0.0/8", "10.255.0.0/16", true),
            ("10.254.0.0/16", "10.255.0.0/16", false),
            ("0.0.0.0/0", "10.255.0.0/16", true),
            ("10.255.0.0/17", "10.255.128.0/17", false),
        ] {
            assert_eq!(cidr(left).overlaps(cidr(right)), expected);
            assert_eq!(cidr(right).overlaps(cidr(left)), expected);
        }
    }

    #[test]
    fn container_addresses_leave_out_the_three_special_ones() {
        let network = cidr("10.0.0.0/28");
        assert_eq!(network.gateway(), Ipv4Addr::new(10, 0, 0, 1));
        let (first, last) = network.container_range();
        assert_eq!(Ipv4Addr::from_bits(first), Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(Ipv4Addr::from_bits(last), Ipv4Addr::new(10, 0, 0, 14));
    }

    #[test]
    fn touching_and_nested_networks_merge() {
        let merged = merge(
            &[
                "10.1.0.0/16",
                "10.0.0.0/16",
                "10.1.2.0/24",
                "240.0.0.0/4",
                "224.0.0.0/4",
            ]
            .map(cidr),
        );
        assert_eq!(
            merged,
            [
                (
                    u32::from(Ipv4Addr::new(10, 0, 0, 0)),
                    u32::from(Ipv4Addr::new(10, 1, 255, 255))
                ),
                (u32::from(Ipv4Addr::new(224, 0, 0, 0)), u32::MAX)
            ]
        );
    }
}
