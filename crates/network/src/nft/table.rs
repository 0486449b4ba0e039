//! Messages about tables, chains, rules and sets of nftables.

use std::net::Ipv4Addr;

use super::rule::{Rule, sender_key, write_value};
use crate::netlink::{NLM_F_APPEND, NLM_F_CREATE, Request};

const SUBSYSTEM: u16 = 10 << 8;
pub(crate) const NEW_TABLE: u16 = SUBSYSTEM;
pub(crate) const GET_TABLE: u16 = SUBSYSTEM | 1;
pub(crate) const DEL_TABLE: u16 = SUBSYSTEM | 2;
pub(crate) const NEW_CHAIN: u16 = SUBSYSTEM | 3;
pub(crate) const GET_CHAIN: u16 = SUBSYSTEM | 4;
pub(crate) const NEW_RULE: u16 = SUBSYSTEM | 6;
pub(crate) const GET_RULE: u16 = SUBSYSTEM | 7;
const NEW_SET: u16 = SUBSYSTEM | 9;
const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
const DEL_ELEMENT: u16 = SUBSYSTEM | 14;

/// Length of `struct nfgenmsg`.
pub(crate) const NFGENMSG: usize = 4;
/// All of nftables' attributes that name the table have this number.
pub(crate) const NFTA_TABLE: u16 = 1;
pub(crate) const NFTA_TABLE_USERDATA: u16 = 6;
/// Keeps a list of elements below the 64 kB an attribute can hold.
const ELEMENTS_PER_MESSAGE: usize = 512;

/// Protocol family of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableFamily {
    /// IPv4 and IPv6 together, on routed packets.
    Inet,
    /// Frames on bridge ports.
    Bridge,
}

impl TableFamily {
    const fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Bridge => 7,
        }
    }
}

/// Where in the kernel a chain is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hook {
    /// `filter` or `nat`.
    pub(crate) kind: &'static str,
    pub(crate) number: u32,
    pub(crate) priority: i32,
}

/// What a set's elements are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SetKind {
    /// Ranges of IPv4 addresses.
    Ranges,
    /// Pairs of bridge port name and IPv4 address.
    Senders,
}

/// A table, as the subject of messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table<'a> {
    pub(crate) family: TableFamily,
    pub(crate) name: &'a str,
}

impl Table<'_> {
    /// A message of type `kind` about the table.
    pub(crate) fn message(self, kind: u16, flags: u16) -> Request {
        let mut request = Request::new(kind, flags, &[self.family.number(), 0, 0, 0]);
        request.text(NFTA_TABLE, self.name);
        request
    }

    /// Creates the table with a comment that `nft list` shows; does nothing when it exists.
    pub(crate) fn create(self, comment: &str) -> Request {
        let mut request = self.message(NEW_TABLE, NLM_F_CREATE);
        request.attribute(NFTA_TABLE_USERDATA, &comment_bytes(comment));
        request
    }

    /// Creates the table if need be and removes it: whatever was there, it is gone, without an error.
    pub(crate) fn clear(self) -> [Request; 2] {
        [self.message(NEW_TABLE, NLM_F_CREATE), self.message(DEL_TABLE, 0)]
    }

    pub(crate) fn chain(self, name: &str, hook: Option<Hook>) -> Request {
        const NF_ACCEPT: u32 = 1;
        let mut request = self.message(NEW_CHAIN, NLM_F_CREATE);
        request.text(3, name);
        if let Some(hook) = hook {
            request
                .nest(4, |place| {
                    place
                        .number_be(1, hook.number)
                        .attribute(2, &hook.priority.to_be_bytes());
                })
                .number_be(5, NF_ACCEPT)
                .text(7, hook.kind);
        }
        request
    }

    pub(crate) fn rule(self, chain: &str, rule: &Rule) -> Request {
        let mut request = self.message(NEW_RULE, NLM_F_CREATE | NLM_F_APPEND);
        request.text(2, chain).nest(4, |list| rule.write(list));
        request
    }

    /// `id` must differ between the sets of one transaction.
    pub(crate) fn set(self, name: &str, kind: SetKind, id: u32) -> Request {
        const NFT_SET_INTERVAL: u32 = 4;
        // The type numbers are nft's own, for its listing only: ipv4_addr 7, ifname 41, six bits each.
        let (flags, key_type, key_length) = match kind {
            SetKind::Ranges => (NFT_SET_INTERVAL, 7, 4),
            SetKind::Senders => (0, 41 << 6 | 7, 20),
        };
        let mut request = self.message(NEW_SET, NLM_F_CREATE);
        request
            .text(2, name)
            .number_be(3, flags)
            .number_be(4, key_type)
            .number_be(5, key_length)
            .number_be(10, id);
        request
    }

    /// Removes every element of a set.
    pub(crate) fn flush(self, set: &str) -> Request {
        let mut request = self.message(DEL_ELEMENT, 0);
        request.text(2, set);
        request
    }

    pub(crate) fn add_senders(self, set: &str, senders: &[(String, Ipv4Addr)]) -> Vec<Request> {
        let keys: Vec<Element> = senders
            .iter()
            .map(|(port, address)| Element::plain(sender_key(port, *address)))
            .collect();
        self.elements(NEW_ELEMENT, NLM_F_CREATE, set, &keys)
    }

    pub(crate) fn remove_sender(self, set: &str, port: &str, address: Ipv4Addr) -> Vec<Request> {
        self.elements(DEL_ELEMENT, 0, set, &[Element::plain(sender_key(port, address))])
    }

    /// Adds disjoint ranges of first and last address.
    pub(crate) fn add_ranges(self, set: &str, ranges: &[(u32, u32)]) -> Vec<Request> {
        let mut bounds = Vec::with_capacity(ranges.len() * 2);
        for (first, last) in ranges {
            bounds.push(Element::plain(first.to_be_bytes().to_vec()));
            // A range up to the very last address has no element behind it.
            bounds.extend(last.checked_add(1).map(|after| Element {
                key: after.to_be_bytes().to_vec(),
                ends: true,
            }));
        }
        self.elements(NEW_ELEMENT, NLM_F_CREATE, set, &bounds)
    }

    fn elements(self, kind: u16, flags: u16, set: &str, elements: &[Element]) -> Vec<Request> {
        const NFTA_LIST_ELEM: u16 = 1;
        const NFT_SET_ELEM_INTERVAL_END: u32 = 1;
        let message = |chunk: &[Element]| {
            let mut request = self.message(kind, flags);
            request.text(2, set).nest(3, |list| {
                for element in chunk {
                    list.nest(NFTA_LIST_ELEM, |item| {
                        if element.ends {
                            item.number_be(3, NFT_SET_ELEM_INTERVAL_END);
                        }
                        item.nest(1, |key| write_value(key, &element.key));
                    });
                }
            });
            request
        };
        elements.chunks(ELEMENTS_PER_MESSAGE).map(message).collect()
    }
}

/// One bound of a range, or one key.
#[derive(Clone, Debug)]
struct Element {
    key: Vec<u8>,
    ends: bool,
}

impl Element {
    const fn plain(key: Vec<u8>) -> Self {
        Self { key, ends: false }
    }
}

/// A comment in the form nft stores and shows: type 0, length, text with its zero.
pub(crate) fn comment_bytes(comment: &str) -> Vec<u8> {
    let length = u8::try_from(comment.len() + 1).expect("comments are short constants");
    let mut bytes = vec![0, length];
    bytes.extend(comment.as_bytes());
    bytes.push(0);
    bytes
}
