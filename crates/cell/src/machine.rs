//! What the binary needs of the second floor before there is a cell: the shim's entry, probes, a range of addresses.

use std::str::FromStr;

use network::Cidr;

pub use rootfs::unpack_main;
pub use runtime::{command_main, shim_main};

use crate::CellError;

/// Ranges tried in this order when the operator names none: large, private, and rarely used by offices and clouds.
const RANGES: [&str; 10] = [
    "10.255.0.0/16",
    "10.254.0.0/16",
    "10.253.0.0/16",
    "10.213.0.0/16",
    "10.211.0.0/16",
    "172.30.0.0/16",
    "172.29.0.0/16",
    "172.27.0.0/16",
    "192.168.192.0/20",
    "192.168.224.0/20",
];

/// The range containers get their addresses from: the one asked for, else the one this platform uses already, else the
/// first that hides nothing this machine reaches.
///
/// # Errors
/// [`CellError::Range`] when the text is no range or nothing is free.
pub fn container_network(tag: &str, wanted: Option<&str>) -> Result<Cidr, CellError> {
    if let Some(text) = wanted {
        return Cidr::from_str(text)
            .map_err(|error| CellError::Range(format!("{text:?} is no range of addresses: {error}")));
    }
    let candidates: Vec<Cidr> = RANGES.iter().filter_map(|text| text.parse().ok()).collect();
    network::first_free(tag, &candidates)?
        .ok_or_else(|| CellError::Range(format!("none of {} is free on this machine", RANGES.join(", "))))
}

/// Tries out what containers need of the kernel: each requirement and whether it works, or the remedy.
pub fn probe() -> Vec<(String, Result<(), String>)> {
    network::probe()
        .into_iter()
        .map(|(name, outcome)| (name.to_owned(), outcome))
        .collect()
}
