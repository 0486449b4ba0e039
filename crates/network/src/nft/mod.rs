//! The firewall: loads the rules when they are missing or old, then only adds and removes set elements.
//!
//! Every change is one transaction of the kernel: packets see the rules before or after it, never
//! between. An unchanged rule set is adopted as it is.

mod rule;
mod ruleset;
mod table;

use std::net::Ipv4Addr;

use rustix::io::Errno;

use crate::cidr::merge;
use crate::names::Names;
use crate::netlink::{Family, Refusal, Request, Socket};
use crate::{Cidr, Egress};

pub(crate) use ruleset::Part;
use ruleset::{ALLOWED, PROTECTED, RESOLVERS, Ruleset, SENDERS};
use table::{
    GET_CHAIN, GET_RULE, GET_TABLE, NEW_CHAIN, NEW_RULE, NFGENMSG, NFTA_TABLE, NFTA_TABLE_USERDATA, Table,
    comment_bytes,
};

/// What must be in the sets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contents {
    /// Port and address of every container.
    pub(crate) senders: Vec<(String, Ipv4Addr)>,
    /// The host's own addresses that containers use as resolvers.
    pub(crate) resolvers: Vec<Ipv4Addr>,
    /// The operator's exceptions; `None` leaves what is loaded.
    pub(crate) egress: Option<Egress>,
}

/// What [`Firewall::ensure`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Our rules, untouched.
    Intact,
    /// None, other or damaged ones: they were replaced.
    Replaced,
}

/// The tables of one platform in one network namespace.
#[derive(Debug)]
pub(crate) struct Firewall {
    socket: Socket,
    rules: Ruleset,
}

impl Firewall {
    /// Opens a socket in the calling thread's namespace; changes nothing.
    pub(crate) fn open(names: &Names, network: Cidr) -> Result<Self, Refusal> {
        Ok(Self {
            socket: Socket::open(Family::Netfilter)?,
            rules: Ruleset::new(names, network),
        })
    }

    /// Makes rules and sets what they must be, in one transaction.
    pub(crate) fn ensure(&mut self, contents: &Contents) -> Result<Found, Refusal> {
        let found = if self.is_intact()? {
            Found::Intact
        } else {
            Found::Replaced
        };
        let mut requests = match found {
            Found::Intact => Vec::new(),
            Found::Replaced => self.rules.replacement(),
        };
        let (inet, bridge) = (self.rules.inet(), self.rules.bridge());
        requests.push(bridge.flush(SENDERS));
        requests.extend(bridge.add_senders(SENDERS, &contents.senders));
        let resolvers: Vec<Cidr> = contents
            .resolvers
            .iter()
            .map(|address| Cidr::new(*address, 32))
            .collect();
        requests.extend(refilled(inet, RESOLVERS, &resolvers));
        if let Some(egress) = &contents.egress {
            requests.extend(refilled(inet, PROTECTED, &egress.protected));
            requests.extend(refilled(inet, ALLOWED, &egress.allowed));
        }
        transact(&mut self.socket, &requests)?;
        Ok(found)
    }

    /// Lets `port` send with `address`; again is fine.
    pub(crate) fn admit(&mut self, port: &str, address: Ipv4Addr) -> Result<(), Refusal> {
        let requests = self
            .rules
            .bridge()
            .add_senders(SENDERS, &[(port.to_owned(), address)]);
        transact(&mut self.socket, &requests)
    }

    /// Lets `port` send no more; absent is fine.
    pub(crate) fn evict(&mut self, port: &str, address: Ipv4Addr) -> Result<(), Refusal> {
        let requests = self.rules.bridge().remove_sender(SENDERS, port, address);
        match transact(&mut self.socket, &requests) {
            Err(refusal) if refusal.is(Errno::NOENT) => Ok(()),
            other => other,
        }
    }

    /// Replaces the operator's exceptions.
    pub(crate) fn set_egress(&mut self, egress: &Egress) -> Result<(), Refusal> {
        let inet = self.rules.inet();
        let mut requests = refilled(inet, PROTECTED, &egress.protected);
        requests.extend(refilled(inet, ALLOWED, &egress.allowed));
        transact(&mut self.socket, &requests)
    }

    /// Removes both tables; absent is fine.
    pub(crate) fn destroy(&mut self) -> Result<(), Refusal> {
        transact(&mut self.socket, &self.rules.removal())
    }

    /// Loads one part into an otherwise empty namespace, to see whether the kernel can.
    pub(crate) fn try_part(&mut self, part: Part) -> Result<(), Refusal> {
        let mut requests: Vec<Request> = [self.rules.inet(), self.rules.bridge()]
            .map(|table| table.create("probe"))
            .into();
        requests.extend(self.rules.contents(part));
        transact(&mut self.socket, &requests)
    }

    /// Chains of others that drop forwarded packets unless told otherwise: they would cut containers
    /// off, since every table has to agree. As `table chain`.
    pub(crate) fn foreign_forward_drops(&mut self) -> Result<Vec<String>, Refusal> {
        const HOOK_FORWARD: u32 = 2;
        const NF_DROP: u32 = 0;
        const FAMILIES: [u8; 2] = [1, 2];
        let mut found = Vec::new();
        self.socket
            .dump(&Request::new(GET_CHAIN, 0, &[0; NFGENMSG]), |frame| {
                let attributes = frame.attributes(NFGENMSG);
                let family = frame.payload.first().copied().unwrap_or(0);
                let hook = attributes.nested(4).and_then(|hook| hook.number_be(1));
                let drops = attributes.number_be(5) == Some(NF_DROP) && hook == Some(HOOK_FORWARD);
                if frame.kind == NEW_CHAIN && FAMILIES.contains(&family) && drops {
                    let name = |kind| attributes.text(kind).unwrap_or_default();
                    found.push(format!("{} {}", name(NFTA_TABLE), name(3)));
                }
            })?;
        Ok(found)
    }

    fn is_intact(&mut self) -> Result<bool, Refusal> {
        let comment = comment_bytes(&self.rules.fingerprint());
        let (inet_rules, bridge_rules) = self.rules.rule_counts();
        for (table, expected) in [
            (self.rules.inet(), inet_rules),
            (self.rules.bridge(), bridge_rules),
        ] {
            if stored_comment(&mut self.socket, table)?.as_deref() != Some(&*comment) {
                return Ok(false);
            }
            // A flushed table keeps its comment and lets everything pass.
            if count_rules(&mut self.socket, table)? != expected {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn stored_comment(socket: &mut Socket, table: Table<'_>) -> Result<Option<Vec<u8>>, Refusal> {
    let read = |frame: &crate::netlink::Frame<'_>| {
        frame
            .attributes(NFGENMSG)
            .get(NFTA_TABLE_USERDATA)
            .map(<[u8]>::to_vec)
    };
    match socket.query(&table.message(GET_TABLE, 0), read) {
        Err(refusal) if refusal.is(Errno::NOENT) => Ok(None),
        other => other,
    }
}

fn count_rules(socket: &mut Socket, table: Table<'_>) -> Result<usize, Refusal> {
    let mut count = 0;
    socket.dump(&table.message(GET_RULE, 0), |frame| {
        let owner = frame.attributes(NFGENMSG).text(NFTA_TABLE);
        if frame.kind == NEW_RULE && owner.as_deref() == Some(table.name) {
            count += 1;
        }
    })?;
    Ok(count)
}

fn refilled(table: Table<'_>, set: &str, networks: &[Cidr]) -> Vec<Request> {
    let mut requests = vec![table.flush(set)];
    requests.extend(table.add_ranges(set, &merge(networks)));
    requests
}

fn transact(socket: &mut Socket, requests: &[Request]) -> Result<(), Refusal> {
    const BATCH_BEGIN: u16 = 0x10;
    const BATCH_END: u16 = 0x11;
    // The last two bytes name the subsystem in network byte order: nftables.
    let bound = |kind| Request::new(kind, 0, &[0, 0, 0, 10]);
    socket.execute_framed(Some(&bound(BATCH_BEGIN)), requests, Some(&bound(BATCH_END)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::in_scratch;

    fn firewall() -> Firewall {
        Firewall::open(&Names::new("unit").unwrap(), "10.9.0.0/16".parse().unwrap()).unwrap()
    }

    fn contents(count: u32) -> Contents {
        let sender = |at: u32| (format!("port{at}"), Ipv4Addr::from_bits(0x0a09_0002 + at));
        Contents {
            senders: (0..count).map(sender).collect(),
            ..Contents::default()
        }
    }

    #[test]
    fn untouched_rules_are_adopted_and_damaged_ones_replaced() {
        in_scratch(|| {
            let mut firewall = firewall();
            assert_eq!(firewall.ensure(&contents(0)).unwrap(), Found::Replaced);
            assert_eq!(firewall.ensure(&contents(3)).unwrap(), Found::Intact);
            let flush_rules = firewall.rules.inet().message(10 << 8 | 8, 0);
            transact(&mut firewall.socket, &[flush_rules]).unwrap();
            assert_eq!(firewall.ensure(&contents(3)).unwrap(), Found::Replaced);
            transact(&mut firewall.socket, &firewall.rules.bridge().clear()).unwrap();
            assert_eq!(firewall.ensure(&contents(3)).unwrap(), Found::Replaced);
            assert_eq!(firewall.ensure(&contents(3)).unwrap(), Found::Intact);
            firewall.destroy().unwrap();
            firewall.destroy().unwrap();
            let bridge = firewall.rules.bridge();
            assert_eq!(stored_comment(&mut firewall.socket, bridge).unwrap(), None);
        })
        .unwrap();
    }

    #[test]
    fn a_full_network_is_loaded_in_one_transaction() {
        in_scratch(|| {
            let mut firewall = firewall();
            firewall.ensure(&contents(65_000)).unwrap();
            assert_eq!(firewall.ensure(&contents(65_000)).unwrap(), Found::Intact);
            firewall.evict("port7", Ipv4Addr::from_bits(0x0a09_0009)).unwrap();
            firewall.evict("port7", Ipv4Addr::from_bits(0x0a09_0009)).unwrap();
        })
        .unwrap();
    }

    #[test]
    fn a_missing_table_is_told_from_other_trouble() {
        in_scratch(|| {
            let refusal = firewall().admit("port", Ipv4Addr::LOCALHOST).unwrap_err();
            assert!(refusal.is(Errno::NOENT), "{refusal:?}");
        })
        .unwrap();
    }

    #[test]
    fn exceptions_may_overlap_and_reach_the_last_address() {
        in_scratch(|| {
            let mut firewall = firewall();
            firewall.ensure(&contents(0)).unwrap();
            let networks = ["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "255.255.255.255/32"];
            let protected = networks.map(|network| network.parse().unwrap()).to_vec();
            for egress in [
                Egress {
                    protected,
                    ..Egress::default()
                },
                Egress::default(),
            ] {
                firewall.set_egress(&egress).unwrap();
                firewall.set_egress(&egress).unwrap();
            }
        })
        .unwrap();
    }

    #[test]
    fn a_foreign_firewall_is_noticed() {
        in_scratch(|| {
            let mut firewall = firewall();
            firewall.ensure(&contents(0)).unwrap();
            assert!(firewall.foreign_forward_drops().unwrap().is_empty());
            let docker = Table {
                family: table::TableFamily::Inet,
                name: "filter",
            };
            let hook = table::Hook {
                kind: "filter",
                number: 2,
                priority: 0,
            };
            let mut chain = docker.chain("FORWARD", Some(hook));
            chain.number_be(5, 0);
            transact(&mut firewall.socket, &[docker.create("foreign"), chain]).unwrap();
            assert_eq!(firewall.foreign_forward_drops().unwrap(), ["filter FORWARD"]);
        })
        .unwrap();
    }
}
