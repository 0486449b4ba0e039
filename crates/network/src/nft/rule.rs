//! One nftables rule: matches read from left to right, then a verdict.
//!
//! The kernel runs a small machine with registers; every match loads register 1 and compares it. The
//! numbers are those of `linux/netfilter/nf_tables.h`.

use std::net::Ipv4Addr;

use crate::Cidr;
use crate::netlink::Request;

const IFNAMSIZ: usize = 16;
const REGISTER_VERDICT: u32 = 0;
const REGISTER_1: u32 = 1;
const REGISTER_2: u32 = 2;

const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const BASE_LINK: u32 = 0;
const BASE_NETWORK: u32 = 1;
const BASE_TRANSPORT: u32 = 2;
const NFPROTO_IPV4: u8 = 2;

const CT_STATE_INVALID: u32 = 1;
const CT_STATE_ESTABLISHED: u32 = 2;
const CT_STATE_RELATED: u32 = 4;

/// Ethernet frame types the guard tells apart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FrameType {
    Ipv4,
    Arp,
}

/// Transport protocols a rule may ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Verdict {
    Drop,
    Accept,
    Goto(&'static str),
}

#[derive(Clone, Copy, Debug)]
enum Comparison {
    Equal,
    Different,
}

#[derive(Clone, Debug)]
enum Expression {
    Meta {
        key: u32,
    },
    Payload {
        base: u32,
        offset: u32,
        length: u32,
        register: u32,
    },
    ConntrackState,
    Mask(Vec<u8>),
    Compare(Comparison, Vec<u8>),
    Lookup {
        set: &'static str,
    },
    Counter,
    Reject {
        kind: u32,
        code: u8,
    },
    Masquerade,
    Verdict(Verdict),
}

/// A rule under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rule {
    expressions: Vec<Expression>,
}

impl Rule {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn comes_in_by(self, interface: &str) -> Self {
        self.meta(META_IIFNAME)
            .compare(Comparison::Equal, &padded_name(interface))
    }

    /// Any interface whose name starts with `prefix`.
    pub(crate) fn comes_in_by_any(self, prefix: &str) -> Self {
        self.meta(META_IIFNAME)
            .compare(Comparison::Equal, prefix.as_bytes())
    }

    pub(crate) fn goes_out_by(self, interface: &str) -> Self {
        self.meta(META_OIFNAME)
            .compare(Comparison::Equal, &padded_name(interface))
    }

    /// Any interface whose name starts with `prefix`.
    pub(crate) fn goes_out_by_any(self, prefix: &str) -> Self {
        self.meta(META_OIFNAME)
            .compare(Comparison::Equal, prefix.as_bytes())
    }

    pub(crate) fn goes_out_elsewhere_than(self, interface: &str) -> Self {
        self.meta(META_OIFNAME)
            .compare(Comparison::Different, &padded_name(interface))
    }

    fn only_ipv4(self) -> Self {
        self.meta(META_NFPROTO)
            .compare(Comparison::Equal, &[NFPROTO_IPV4])
    }

    pub(crate) fn other_than_ipv4(self) -> Self {
        self.meta(META_NFPROTO)
            .compare(Comparison::Different, &[NFPROTO_IPV4])
    }

    /// Part of a conversation that was allowed when it began, or an ICMP error about one.
    pub(crate) fn of_known_flow(self) -> Self {
        self.conntrack_state(CT_STATE_ESTABLISHED | CT_STATE_RELATED)
    }

    pub(crate) fn of_invalid_flow(self) -> Self {
        self.conntrack_state(CT_STATE_INVALID)
    }

    /// IPv4 with a source inside `network`.
    pub(crate) fn source_within(self, network: Cidr) -> Self {
        self.only_ipv4()
            .payload(BASE_NETWORK, 12, 4)
            .push(Expression::Mask(network.mask().octets().to_vec()))
            .compare(Comparison::Equal, &network.first().octets())
    }

    /// IPv4 with a destination in `set`.
    pub(crate) fn destination_in(self, set: &'static str) -> Self {
        self.only_ipv4()
            .payload(BASE_NETWORK, 16, 4)
            .push(Expression::Lookup { set })
    }

    pub(crate) fn transport(self, transport: Transport) -> Self {
        self.meta(META_L4PROTO)
            .compare(Comparison::Equal, &[transport.number()])
    }

    pub(crate) fn for_port(self, transport: Transport, port: u16) -> Self {
        self.transport(transport)
            .payload(BASE_TRANSPORT, 2, 2)
            .compare(Comparison::Equal, &port.to_be_bytes())
    }

    /// An untagged frame of this type; ARP only for IPv4 over Ethernet.
    pub(crate) fn frame(self, kind: FrameType) -> Self {
        let rule = self.payload(BASE_LINK, 12, 2);
        match kind {
            FrameType::Ipv4 => rule.compare(Comparison::Equal, &[0x08, 0x00]),
            FrameType::Arp => rule
                .compare(Comparison::Equal, &[0x08, 0x06])
                .payload(BASE_NETWORK, 0, 6)
                .compare(Comparison::Equal, &[0, 1, 0x08, 0x00, 6, 4]),
        }
    }

    /// A frame to the addresses bridges keep for themselves (01:80:c2…).
    pub(crate) fn for_link_local_group(self) -> Self {
        self.payload(BASE_LINK, 0, 3)
            .compare(Comparison::Equal, &[0x01, 0x80, 0xc2])
    }

    /// The port it comes in by, together with the sender's IPv4 address, is in `set`.
    pub(crate) fn sender_in(self, kind: FrameType, set: &'static str) -> Self {
        let offset = match kind {
            FrameType::Ipv4 => 12,
            FrameType::Arp => 14,
        };
        self.meta(META_IIFNAME)
            .push(Expression::Payload {
                base: BASE_NETWORK,
                offset,
                length: 4,
                register: REGISTER_2,
            })
            .push(Expression::Lookup { set })
    }

    pub(crate) fn counted(self) -> Self {
        self.push(Expression::Counter)
    }

    pub(crate) fn accept(self) -> Self {
        self.push(Expression::Verdict(Verdict::Accept))
    }

    pub(crate) fn discard(self) -> Self {
        self.push(Expression::Verdict(Verdict::Drop))
    }

    /// Continues in another chain and never comes back.
    pub(crate) fn goto(self, chain: &'static str) -> Self {
        self.push(Expression::Verdict(Verdict::Goto(chain)))
    }

    /// Ends it with a TCP reset; the rule must have asked for TCP before.
    pub(crate) fn reset(self) -> Self {
        self.push(Expression::Reject { kind: 1, code: 0 })
    }

    /// Ends it with "port unreachable".
    pub(crate) fn unreachable(self) -> Self {
        self.push(Expression::Reject { kind: 2, code: 1 })
    }

    /// Gives it the source address of the interface it leaves by.
    pub(crate) fn masquerade(self) -> Self {
        self.push(Expression::Masquerade)
    }

    /// Writes the rule as list elements.
    pub(crate) fn write(&self, list: &mut Request) {
        const NFTA_LIST_ELEM: u16 = 1;
        for expression in &self.expressions {
            list.nest(NFTA_LIST_ELEM, |element| expression.write(element));
        }
    }

    fn push(mut self, expression: Expression) -> Self {
        self.expressions.push(expression);
        self
    }

    fn meta(self, key: u32) -> Self {
        self.push(Expression::Meta { key })
    }

    fn payload(self, base: u32, offset: u32, length: u32) -> Self {
        self.push(Expression::Payload {
            base,
            offset,
            length,
            register: REGISTER_1,
        })
    }

    fn compare(self, how: Comparison, value: &[u8]) -> Self {
        self.push(Expression::Compare(how, value.to_vec()))
    }

    fn conntrack_state(self, bits: u32) -> Self {
        self.push(Expression::ConntrackState)
            .push(Expression::Mask(bits.to_ne_bytes().to_vec()))
            .compare(Comparison::Different, &[0; 4])
    }
}

impl Expression {
    fn name(&self) -> &'static str {
        match self {
            Self::Meta { .. } => "meta",
            Self::Payload { .. } => "payload",
            Self::ConntrackState => "ct",
            Self::Mask(_) => "bitwise",
            Self::Compare(..) => "cmp",
            Self::Lookup { .. } => "lookup",
            Self::Counter => "counter",
            Self::Reject { .. } => "reject",
            Self::Masquerade => "masq",
            Self::Verdict(_) => "immediate",
        }
    }

    fn write(&self, element: &mut Request) {
        const NFTA_EXPR_NAME: u16 = 1;
        const NFTA_EXPR_DATA: u16 = 2;
        element
            .text(NFTA_EXPR_NAME, self.name())
            .nest(NFTA_EXPR_DATA, |data| self.write_data(data));
    }

    fn write_data(&self, data: &mut Request) {
        match self {
            Self::Meta { key } => {
                data.number_be(1, REGISTER_1).number_be(2, *key);
            }
            Self::Payload {
                base,
                offset,
                length,
                register,
            } => {
                data.number_be(1, *register)
                    .number_be(2, *base)
                    .number_be(3, *offset)
                    .number_be(4, *length);
            }
            Self::ConntrackState => {
                const NFT_CT_STATE: u32 = 0;
                data.number_be(1, REGISTER_1).number_be(2, NFT_CT_STATE);
            }
            Self::Mask(mask) => {
                let length = u32::try_from(mask.len()).unwrap_or(4);
                data.number_be(1, REGISTER_1)
                    .number_be(2, REGISTER_1)
                    .number_be(3, length);
                data.nest(4, |value| write_value(value, mask))
                    .nest(5, |value| write_value(value, &vec![0; mask.len()]));
            }
            Self::Compare(how, expected) => {
                let operation = match how {
                    Comparison::Equal => 0,
                    Comparison::Different => 1,
                };
                data.number_be(1, REGISTER_1)
                    .number_be(2, operation)
                    .nest(3, |value| write_value(value, expected));
            }
            Self::Lookup { set } => {
                data.text(1, set).number_be(2, REGISTER_1);
            }
            Self::Reject { kind, code } => {
                data.number_be(1, *kind).attribute(2, &[*code]);
            }
            Self::Counter | Self::Masquerade => {}
            Self::Verdict(verdict) => {
                data.number_be(1, REGISTER_VERDICT)
                    .nest(2, |value| verdict.write(value));
            }
        }
    }
}

impl Verdict {
    fn write(self, value: &mut Request) {
        const NFTA_DATA_VERDICT: u16 = 2;
        const NF_DROP: i32 = 0;
        const NF_ACCEPT: i32 = 1;
        const NFT_GOTO: i32 = -4;
        let (code, chain) = match self {
            Self::Drop => (NF_DROP, None),
            Self::Accept => (NF_ACCEPT, None),
            Self::Goto(chain) => (NFT_GOTO, Some(chain)),
        };
        value.nest(NFTA_DATA_VERDICT, |verdict| {
            verdict.attribute(1, &code.to_be_bytes());
            if let Some(chain) = chain {
                verdict.text(2, chain);
            }
        });
    }
}

/// Writes `NFTA_DATA_VALUE`.
pub(crate) fn write_value(data: &mut Request, value: &[u8]) {
    data.attribute(1, value);
}

/// An interface name as the kernel compares it: 16 bytes, padded with zeros.
pub(crate) fn padded_name(name: &str) -> [u8; IFNAMSIZ] {
    let mut padded = [0; IFNAMSIZ];
    for (to, from) in padded.iter_mut().zip(name.bytes().take(IFNAMSIZ - 1)) {
        *to = from;
    }
    padded
}

/// The key of the guard's set: port name, address.
pub(crate) fn sender_key(port: &str, address: Ipv4Addr) -> Vec<u8> {
    let mut key = padded_name(port).to_vec();
    key.extend(address.octets());
    key
}
