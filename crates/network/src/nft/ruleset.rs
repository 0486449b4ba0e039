//! The rules every platform loads: who may talk to whom. Read this file to know the policy.
//!
//! Two tables per platform. `bridge slipway_<tag>` sees frames on the containers' ports and lets only
//! those pass that carry the port's own address. `inet slipway_<tag>` sees routed packets:
//!
//! ```text
//! container → host            refused, but for replies, and DNS when the host itself is the resolver
//! container → container       refused, in this and every other platform on the host
//! container → `protected`     refused
//! container → `allowed`       accepted, masqueraded
//! container → anywhere, DNS   accepted, masqueraded
//! container → private ranges  refused (`private`)
//! container → anything else   accepted, masqueraded
//! host      → container       accepted
//! others    → container       dropped, but for replies
//! ```
//!
//! Refused means a TCP reset or "port unreachable", so that an app learns at once; forged packets are
//! dropped in silence. Established flows come first and cost one lookup. All rules name the platform's
//! own bridge, so two platforms never touch each other's traffic; `accept` ends only this table, a drop
//! by the administrator's own rules still counts.

use std::net::Ipv4Addr;

use sha2::{Digest, Sha256};

use super::rule::{FrameType, Rule, Transport};
use super::table::{Hook, SetKind, Table, TableFamily};
use crate::Cidr;
use crate::cidr::merge;
use crate::names::{BRIDGE_PREFIX, Names};
use crate::netlink::Request;

/// Set of pairs (port, address) that may send.
pub(crate) const SENDERS: &str = "senders";
/// Set of destinations containers never reach.
pub(crate) const PROTECTED: &str = "protected";
/// Set of destinations opened although they are private.
pub(crate) const ALLOWED: &str = "allowed";
/// Set of the host's own addresses that answer DNS for containers.
pub(crate) const RESOLVERS: &str = "resolvers";
const PRIVATE: &str = "private";

const FROM_CONTAINER: &str = "from_container";
const TO_CONTAINER: &str = "to_container";
const TO_HOST: &str = "to_host";
const REFUSE: &str = "refuse";
const CHECK_SENDER: &str = "check_sender";

const HOOK_PREROUTING: u32 = 0;
const HOOK_INPUT: u32 = 1;
const HOOK_FORWARD: u32 = 2;
const HOOK_POSTROUTING: u32 = 4;
/// Ahead of the administrator's and other tools' filters (0).
const PRIORITY_FILTER: i32 = -10;
/// Where bridges translate destinations: before anything else of ours or theirs looks at the frame.
const PRIORITY_BRIDGE: i32 = -300;
const PRIORITY_SOURCE_NAT: i32 = 100;
const DNS_PORT: u16 = 53;

/// Everything that is not the public internet.
const PRIVATE_NETWORKS: [Cidr; 9] = [
    Cidr::new(Ipv4Addr::new(0, 0, 0, 0), 8),
    Cidr::new(Ipv4Addr::new(10, 0, 0, 0), 8),
    Cidr::new(Ipv4Addr::new(100, 64, 0, 0), 10),
    Cidr::new(Ipv4Addr::new(127, 0, 0, 0), 8),
    Cidr::new(Ipv4Addr::new(169, 254, 0, 0), 16),
    Cidr::new(Ipv4Addr::new(172, 16, 0, 0), 12),
    Cidr::new(Ipv4Addr::new(192, 168, 0, 0), 16),
    Cidr::new(Ipv4Addr::new(224, 0, 0, 0), 4),
    Cidr::new(Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The parts of the rules, each of which a kernel may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Who may talk to whom.
    Filter,
    /// Masquerading towards the outside.
    Nat,
    /// Source addresses of frames.
    Guard,
}

/// The tables of one platform.
#[derive(Clone, Debug)]
pub(crate) struct Ruleset {
    names: Names,
    network: Cidr,
}

impl Ruleset {
    pub(crate) fn new(names: &Names, network: Cidr) -> Self {
        Self {
            names: names.clone(),
            network,
        }
    }

    pub(crate) fn inet(&self) -> Table<'_> {
        Table {
            family: TableFamily::Inet,
            name: &self.names.table,
        }
    }

    pub(crate) fn bridge(&self) -> Table<'_> {
        Table {
            family: TableFamily::Bridge,
            name: &self.names.table,
        }
    }

    /// How many rules each table has when nobody tampered with it.
    pub(crate) fn rule_counts(&self) -> (usize, usize) {
        (
            self.filter_rules().len() + self.nat_rules().len(),
            self.guard_rules().len(),
        )
    }

    /// A comment that changes with any change of the rules.
    pub(crate) fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        for request in [Part::Filter, Part::Nat, Part::Guard]
            .into_iter()
            .flat_map(|part| self.contents(part))
        {
            digest.update(request.finish(0, 0));
        }
        let hash: [u8; 32] = digest.finalize().into();
        let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("managed by slipway, do not edit; rules {hex}")
    }

    /// Messages that replace both tables by fresh ones without elements.
    pub(crate) fn replacement(&self) -> Vec<Request> {
        let comment = self.fingerprint();
        let mut requests: Vec<Request> = Vec::new();
        for table in [self.inet(), self.bridge()] {
            requests.extend(table.clear());
            requests.push(table.create(&comment));
        }
        requests.extend(
            [Part::Filter, Part::Nat, Part::Guard]
                .into_iter()
                .flat_map(|part| self.contents(part)),
        );
        requests
    }

    /// Messages that remove both tables, if they are there.
    pub(crate) fn removal(&self) -> Vec<Request> {
        [self.inet(), self.bridge()]
            .into_iter()
            .flat_map(Table::clear)
            .collect()
    }

    /// Sets, chains and rules of one part.
    pub(crate) fn contents(&self, part: Part) -> Vec<Request> {
        match part {
            Part::Filter => {
                let table = self.inet();
                let mut requests: Vec<Request> = [PRIVATE, PROTECTED, ALLOWED, RESOLVERS]
                    .into_iter()
                    .zip(1..)
                    .map(|(set, id)| table.set(set, SetKind::Ranges, id))
                    .collect();
                requests.extend(table.add_ranges(PRIVATE, &merge(&PRIVATE_NETWORKS)));
                for chain in [REFUSE, TO_HOST, FROM_CONTAINER, TO_CONTAINER] {
                    requests.push(table.chain(chain, None));
                }
                let hook = |number| {
                    Some(Hook {
                        kind: "filter",
                        number,
                        priority: PRIORITY_FILTER,
                    })
                };
                requests.push(table.chain("input", hook(HOOK_INPUT)));
                requests.push(table.chain("forward", hook(HOOK_FORWARD)));
                with_rules(requests, table, &self.filter_rules())
            }
            Part::Nat => {
                let hook = Hook {
                    kind: "nat",
                    number: HOOK_POSTROUTING,
                    priority: PRIORITY_SOURCE_NAT,
                };
                let table = self.inet();
                with_rules(
                    vec![table.chain("postrouting", Some(hook))],
                    table,
                    &self.nat_rules(),
                )
            }
            Part::Guard => {
                let table = self.bridge();
                let hook = |number| {
                    Some(Hook {
                        kind: "filter",
                        number,
                        priority: PRIORITY_BRIDGE,
                    })
                };
                let requests = vec![
                    table.set(SENDERS, SetKind::Senders, 1),
                    table.chain(CHECK_SENDER, None),
                    table.chain("prerouting", hook(HOOK_PREROUTING)),
                    table.chain("input", hook(HOOK_INPUT)),
                ];
                with_rules(requests, table, &self.guard_rules())
            }
        }
    }

    fn filter_rules(&self) -> Vec<(&'static str, Rule)> {
        let mut rules = vec![
            (REFUSE, Rule::new().transport(Transport::Tcp).counted().reset()),
            (REFUSE, Rule::new().counted().unreachable()),
        ];
        rules.extend(self.rules_to_host());
        rules.extend(self.rules_of_forwarding());
        rules
    }

    fn rules_to_host(&self) -> Vec<(&'static str, Rule)> {
        let dns = |transport| {
            Rule::new()
                .destination_in(RESOLVERS)
                .for_port(transport, DNS_PORT)
        };
        vec![
            ("input", Rule::new().comes_in_by(&self.names.bridge).goto(TO_HOST)),
            (TO_HOST, Rule::new().other_than_ipv4().discard()),
            (TO_HOST, Rule::new().of_known_flow().accept()),
            (TO_HOST, dns(Transport::Udp).accept()),
            (TO_HOST, dns(Transport::Tcp).accept()),
            (TO_HOST, Rule::new().goto(REFUSE)),
        ]
    }

    fn rules_of_forwarding(&self) -> Vec<(&'static str, Rule)> {
        let bridge = self.names.bridge.as_str();
        let dns = |transport| Rule::new().for_port(transport, DNS_PORT);
        vec![
            ("forward", Rule::new().comes_in_by(bridge).goto(FROM_CONTAINER)),
            ("forward", Rule::new().goes_out_by(bridge).goto(TO_CONTAINER)),
            (FROM_CONTAINER, Rule::new().other_than_ipv4().discard()),
            (FROM_CONTAINER, Rule::new().of_known_flow().accept()),
            (FROM_CONTAINER, Rule::new().of_invalid_flow().discard()),
            (
                FROM_CONTAINER,
                Rule::new().goes_out_by_any(BRIDGE_PREFIX).goto(REFUSE),
            ),
            (FROM_CONTAINER, Rule::new().destination_in(PROTECTED).goto(REFUSE)),
            (FROM_CONTAINER, Rule::new().destination_in(ALLOWED).accept()),
            (FROM_CONTAINER, dns(Transport::Udp).accept()),
            (FROM_CONTAINER, dns(Transport::Tcp).accept()),
            (FROM_CONTAINER, Rule::new().destination_in(PRIVATE).goto(REFUSE)),
            (FROM_CONTAINER, Rule::new().accept()),
            (TO_CONTAINER, Rule::new().of_known_flow().accept()),
            (TO_CONTAINER, Rule::new().counted().discard()),
        ]
    }

    fn nat_rules(&self) -> Vec<(&'static str, Rule)> {
        let outward = Rule::new()
            .source_within(self.network)
            .goes_out_elsewhere_than(&self.names.bridge);
        vec![("postrouting", outward.masquerade())]
    }

    fn guard_rules(&self) -> Vec<(&'static str, Rule)> {
        let port = || Rule::new().comes_in_by_any(&self.names.port_prefix);
        let honest = |kind| Rule::new().frame(kind).sender_in(kind, SENDERS).accept();
        vec![
            ("prerouting", port().goto(CHECK_SENDER)),
            (CHECK_SENDER, honest(FrameType::Ipv4)),
            (CHECK_SENDER, honest(FrameType::Arp)),
            (CHECK_SENDER, Rule::new().counted().discard()),
            // These frames go past prerouting, straight to the host's own listeners.
            ("input", port().for_link_local_group().discard()),
        ]
    }
}

fn with_rules(mut requests: Vec<Request>, table: Table<'_>, rules: &[(&'static str, Rule)]) -> Vec<Request> {
    requests.extend(rules.iter().map(|(chain, rule)| table.rule(chain, rule)));
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_follows_the_rules() {
        let ruleset = |tag, network: &str| Ruleset::new(&Names::new(tag).unwrap(), network.parse().unwrap());
        let one = ruleset("one", "10.0.0.0/16");
        assert_eq!(one.fingerprint(), ruleset("one", "10.0.0.0/16").fingerprint());
        assert_ne!(one.fingerprint(), ruleset("one", "10.1.0.0/16").fingerprint());
        assert_ne!(one.fingerprint(), ruleset("two", "10.0.0.0/16").fingerprint());
        assert!(one.fingerprint().len() < 100);
    }
}
