//! A platform's bridge, found and removed by name.

use std::net::Ipv4Addr;

use crate::error::During;
use crate::links::{Link, Links};
use crate::names::Names;
use crate::nft::Firewall;
use crate::{Cidr, Error};

/// Removes bridge, container links and rules of the platform with this tag, from names alone; for when
/// its state directory is gone. Absent is fine. Leases go with the directory.
pub fn destroy_leftovers(tag: &str) -> Result<(), Error> {
    let names = Names::new(tag)?;
    let mut links = Links::open().during("open a netlink socket")?;
    remove_links(&mut links, &names)?;
    let any = Cidr::new(Ipv4Addr::UNSPECIFIED, 0);
    let mut firewall = Firewall::open(&names, any).during("open a netlink socket for nftables")?;
    firewall.destroy().during("remove the firewall rules")
}

/// Our bridge, if it stands with the right address or with none; a wrong one is removed when unused.
pub(crate) fn usable_bridge(links: &mut Links, names: &Names, network: Cidr) -> Result<Option<Link>, Error> {
    let Some(bridge) = links.find(&names.bridge).during("look for the bridge")? else {
        return Ok(None);
    };
    let addresses = links.addresses().during("list the host's addresses")?;
    let wrong = addresses.iter().find(|held| {
        held.index == bridge.index && (held.address, held.prefix) != (network.gateway(), network.prefix_len())
    });
    let Some(held) = wrong else {
        return Ok(Some(bridge));
    };
    if !ports(links, names)?.is_empty() {
        let (bridge, prefix) = (bridge.name, held.prefix);
        return Err(Error::CidrChanged {
            bridge,
            held: held.address,
            prefix,
            cidr: network,
        });
    }
    links
        .delete(&names.bridge)
        .during("remove the bridge of another network")?;
    Ok(None)
}

/// Creates what is missing of the bridge, and switches it on.
pub(crate) fn raise_bridge(
    links: &mut Links,
    names: &Names,
    network: Cidr,
    existing: Option<Link>,
    mtu: u32,
) -> Result<Link, Error> {
    let what = || format!("create bridge {}", names.bridge);
    let bridge = match existing {
        Some(bridge) => Some(bridge),
        None => links
            .create_bridge(&names.bridge, network.gateway(), mtu)
            .during(what())?,
    };
    let gone = || Error::System {
        what: "find the new bridge",
        source: std::io::ErrorKind::NotFound.into(),
    };
    let bridge = bridge.ok_or_else(gone)?;
    links
        .assign(bridge.index, network.gateway(), network.prefix_len())
        .during(what())?;
    Ok(bridge)
}

/// The host ends of all our containers' links, whoever owns them.
pub(crate) fn ports(links: &mut Links, names: &Names) -> Result<Vec<String>, Error> {
    let all = links.all().during("list the host's interfaces")?;
    Ok(all
        .into_iter()
        .map(|link| link.name)
        .filter(|name| name.starts_with(&names.port_prefix))
        .collect())
}

/// Removes every link of ours.
pub(crate) fn remove_links(links: &mut Links, names: &Names) -> Result<(), Error> {
    let ports = ports(links, names)?;
    links
        .delete_together(&ports, names.doomed_group)
        .during("remove container links")?;
    links
        .delete(&names.bridge)
        .during(format!("remove bridge {}", names.bridge))
}
