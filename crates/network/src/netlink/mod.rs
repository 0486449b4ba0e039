//! A small blocking netlink client: messages, attributes, one request at a time.
//!
//! Knows the framing of netlink(7) and nothing of links or rules. Everything read is treated as
//! foreign bytes: no indexing, unknown parts are skipped.

mod read;
mod socket;
mod write;

pub(crate) use read::{Attributes, Frame, ifinfo_index};
pub use socket::Refusal;
pub(crate) use socket::{Family, Socket};
pub(crate) use write::Request;

/// Length of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;

pub(crate) const NLM_F_REQUEST: u16 = 0x1;
pub(crate) const NLM_F_ACK: u16 = 0x4;
pub(crate) const NLM_F_REPLACE: u16 = 0x100;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
pub(crate) const NLM_F_APPEND: u16 = 0x800;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_DUMP_INTR: u16 = 0x10;
pub(crate) const NLM_F_CAPPED: u16 = 0x100;
pub(crate) const NLM_F_ACK_TLVS: u16 = 0x200;

pub(crate) const NLMSG_ERROR: u16 = 2;
pub(crate) const NLMSG_DONE: u16 = 3;

pub(crate) const NLA_F_NESTED: u16 = 0x8000;
pub(crate) const NLA_TYPE_MASK: u16 = 0x3fff;

/// Rounds up to netlink's alignment of four bytes.
pub(crate) const fn align(length: usize) -> usize {
    (length + 3) & !3
}
