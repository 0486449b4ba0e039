//! Whether this kernel can do what the network needs, tried out where nobody sees it.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use crate::error::During;
use crate::links::{Links, Port, VethEnds};
use crate::names::Names;
use crate::netns::in_scratch;
use crate::nft::{Firewall, Part};
use crate::{Cidr, Error};

/// Tries each kernel feature in a network namespace of its own that vanishes afterwards: name of the
/// feature, and why it does not work, with its causes.
pub fn probe() -> Vec<(&'static str, Result<(), String>)> {
    let said = |outcome: Result<(), Error>| outcome.map_err(|error| base::chain(&error));
    match in_scratch(attempt) {
        Ok(outcomes) => std::iter::once(("network namespaces", Ok(())))
            .chain(outcomes.into_iter().map(|(name, outcome)| (name, said(outcome))))
            .collect(),
        Err(error) => vec![("network namespaces", said(Err(error)))],
    }
}

type Outcome = (&'static str, Result<(), Error>);

fn attempt() -> Vec<Outcome> {
    let names = Names::new("probe").expect("a constant tag is well formed");
    let network = Cidr::new(Ipv4Addr::new(192, 0, 2, 0), 24);
    let part = |part| {
        let mut firewall = Firewall::open(&names, network).during("open a netlink socket for nftables")?;
        firewall.try_part(part).during("load a rule set")?;
        firewall.destroy().during("remove a rule set")
    };
    vec![
        ("bridge", bridge(&names, network)),
        ("veth and isolated bridge ports", veth(&names, network)),
        ("nf_tables filter", part(Part::Filter)),
        ("nf_tables nat", part(Part::Nat)),
        ("nf_tables bridge", part(Part::Guard)),
    ]
}

fn bridge(names: &Names, network: Cidr) -> Result<(), Error> {
    let mut links = Links::open().during("open a netlink socket")?;
    let bridge = links
        .create_bridge(&names.bridge, network.gateway(), 1500)
        .during("create a bridge")?;
    let index = bridge.map_or(0, |bridge| bridge.index);
    links
        .assign(index, network.gateway(), network.prefix_len())
        .during("give a bridge an address")
}

fn veth(names: &Names, network: Cidr) -> Result<(), Error> {
    let mut links = Links::open().during("open a netlink socket")?;
    let bridge = links
        .find(&names.bridge)
        .during("find the bridge")?
        .map_or(0, |bridge| bridge.index);
    let here = File::open("/proc/thread-self/ns/net").map_err(|source| Error::System {
        what: "open the network namespace",
        source,
    })?;
    let address = Ipv4Addr::from_bits(network.container_range().0);
    let outside = names.port("probe");
    let ends = VethEnds {
        outside: &outside,
        inside: "eth0",
        namespace: here.as_fd(),
        bridge,
        address,
        mtu: 1500,
    };
    links.create_veth(&ends).during("create a veth pair")?;
    let index = links
        .find(&outside)
        .during("find the veth")?
        .map_or(0, |link| link.index);
    links
        .lock_port(Port {
            index,
            bridge,
            address,
        })
        .during("isolate a bridge port")?;
    links.delete(&outside).during("remove a veth pair")
}
