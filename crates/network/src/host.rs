//! What the host already has: networks ours must not hide, the way out, its own resolvers.

use std::net::Ipv4Addr;

use crate::error::During;
use crate::files;
use crate::links::{Assigned, Link, Links, Route};
use crate::names::Names;
use crate::netns::{Change, set_sysctl};
use crate::{Cidr, Error};

const DEFAULT_MTU: u32 = 1500;
/// What IPv6 and most tunnels manage; a link that says less is lying or unfit.
const LEAST_MTU: u32 = 1280;

/// Links, addresses and routes, read together.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    links: Vec<Link>,
    addresses: Vec<Assigned>,
    routes: Vec<Route>,
}

impl Host {
    /// Reads the calling thread's namespace, except what belongs to the link called `ours`.
    pub(crate) fn read(links: &mut Links, ours: &str) -> Result<Self, Error> {
        let all = links.all().during("list the host's interfaces")?;
        let own = all.iter().find(|link| link.name == ours).map(|link| link.index);
        let mut addresses = links.addresses().during("list the host's addresses")?;
        let mut routes = links.routes().during("list the host's routes")?;
        addresses.retain(|address| Some(address.index) != own);
        routes.retain(|route| route.index.is_none() || route.index != own);
        Ok(Self {
            links: all,
            addresses,
            routes,
        })
    }

    /// Refuses a network that would take something away from the host.
    pub(crate) fn check_free(&self, network: Cidr, resolvers: &[Ipv4Addr]) -> Result<(), Error> {
        match self.conflict(network, resolvers) {
            Some(what) => Err(Error::Overlap { cidr: network, what }),
            None => Ok(()),
        }
    }

    /// Interfaces that carry a default route.
    pub(crate) fn uplinks(&self) -> Vec<&Link> {
        let default = Cidr::new(Ipv4Addr::UNSPECIFIED, 0);
        let mut indexes: Vec<u32> = self
            .routes
            .iter()
            .filter(|route| route.destination == default)
            .filter_map(|route| route.index)
            .collect();
        indexes.sort_unstable();
        indexes.dedup();
        indexes
            .into_iter()
            .filter_map(|index| self.links.iter().find(|link| link.index == index))
            .collect()
    }

    /// Largest packet that passes every way out, bytes.
    pub(crate) fn mtu(&self) -> u32 {
        let mtus = self
            .uplinks()
            .into_iter()
            .map(|link| link.mtu)
            .filter(|mtu| *mtu >= LEAST_MTU);
        mtus.min().map_or(DEFAULT_MTU, |mtu| mtu.min(DEFAULT_MTU * 6))
    }

    /// Those of `resolvers` that are the host itself.
    pub(crate) fn own(&self, resolvers: &[Ipv4Addr]) -> Vec<Ipv4Addr> {
        let is_own = |address: &&Ipv4Addr| {
            self.addresses
                .iter()
                .any(|assigned| assigned.address == **address)
        };
        resolvers.iter().filter(is_own).copied().collect()
    }

    fn conflict(&self, network: Cidr, resolvers: &[Ipv4Addr]) -> Option<String> {
        let address = self
            .addresses
            .iter()
            .find(|held| Cidr::new(held.address, held.prefix).overlaps(network));
        if let Some(held) = address {
            return Some(format!(
                "{}/{} of the host's interface {}",
                held.address,
                held.prefix,
                self.name(Some(held.index))
            ));
        }
        let route = self
            .routes
            .iter()
            .find(|route| route.destination.prefix_len() > 0 && route.destination.overlaps(network));
        if let Some(route) = route {
            return Some(format!(
                "the host's route to {} by {}",
                route.destination,
                self.name(route.index)
            ));
        }
        let resolver = resolvers.iter().find(|resolver| network.contains(**resolver))?;
        Some(format!("{resolver}, the host's name server"))
    }

    fn name(&self, index: Option<u32>) -> &str {
        let link = self.links.iter().find(|link| Some(link.index) == index);
        link.map_or("no interface", |link| link.name.as_str())
    }
}

/// Lets packets that come in by `bridge` or by an uplink be routed on, and says what was changed.
///
/// Only these interfaces: the host does not become a router between its other networks. Without a
/// default route containers reach nothing outside until [`crate::Network::sweep`] finds one.
pub(crate) fn enable_forwarding(bridge: &str, host: &Host) -> Result<(), Error> {
    for interface in std::iter::once(bridge).chain(host.uplinks().into_iter().map(|link| link.name.as_str()))
    {
        let change = set_sysctl(&format!("ipv4/conf/{interface}/forwarding"), "1")?;
        if change == Change::Made && interface != bridge {
            tracing::info!(
                interface,
                "switched on net.ipv4.conf.{interface}.forwarding, which containers need to reach the outside; \
                 it stays on when Slipway leaves"
            );
        }
    }
    Ok(())
}

/// The network of `candidates` that the platform with this tag already uses on this host, else the first
/// that hides nothing the host reaches; for a default that fits and stays.
pub fn first_free(tag: &str, candidates: &[Cidr]) -> Result<Option<Cidr>, Error> {
    let names = Names::new(tag)?;
    let mut links = Links::open().during("open a netlink socket")?;
    if let Some(bridge) = links.find(&names.bridge).during("look for the bridge")? {
        let held = links.addresses().during("list the host's addresses")?;
        let uses = |network: &&Cidr| {
            held.iter().any(|held| {
                held.index == bridge.index
                    && (held.address, held.prefix) == (network.gateway(), network.prefix_len())
            })
        };
        if let Some(network) = candidates.iter().find(uses) {
            return Ok(Some(*network));
        }
    }
    let host = Host::read(&mut links, &names.bridge)?;
    let resolvers = files::resolvers();
    Ok(candidates
        .iter()
        .copied()
        .find(|candidate| host.conflict(*candidate, &resolvers).is_none()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::links::LinkState;

    fn host() -> Host {
        let link = |index, name: &str, mtu| Link {
            index,
            name: name.to_owned(),
            mtu,
            peer: None,
            group: 0,
            state: LinkState::Up,
        };
        let route = |destination: &str, index| Route {
            destination: destination.parse().unwrap(),
            index,
        };
        Host {
            links: vec![link(2, "eth0", 1400), link(3, "docker0", 1500)],
            addresses: vec![Assigned {
                index: 3,
                address: Ipv4Addr::new(172, 17, 0, 1),
                prefix: 16,
            }],
            routes: vec![
                route("0.0.0.0/0", Some(2)),
                route("10.64.0.0/10", Some(2)),
                route("10.200.0.0/16", None),
            ],
        }
    }

    #[test]
    fn what_would_be_hidden_is_named() {
        let resolvers = [Ipv4Addr::new(10, 255, 255, 53)];
        let check = |network: &str| {
            host()
                .conflict(network.parse().unwrap(), &resolvers)
                .unwrap_or_default()
        };
        assert_eq!(
            check("172.16.0.0/12"),
            "172.17.0.1/16 of the host's interface docker0"
        );
        assert_eq!(check("10.100.0.0/16"), "the host's route to 10.64.0.0/10 by eth0");
        assert_eq!(
            check("10.200.1.0/24"),
            "the host's route to 10.200.0.0/16 by no interface"
        );
        assert_eq!(check("10.255.0.0/16"), "10.255.255.53, the host's name server");
        assert_eq!(check("10.254.0.0/16"), "");
    }

    #[test]
    fn the_way_out_decides_packet_size() {
        assert_eq!(host().mtu(), 1400);
        assert_eq!(
            Host {
                routes: Vec::new(),
                ..host()
            }
            .mtu(),
            1500
        );
    }
}
