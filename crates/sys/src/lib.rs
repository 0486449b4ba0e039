//! The only room with `unsafe`: system calls no safe wrapper offers, each small, named and with its reason.
//!
//! Knows the kernel and nothing of the platform; no policy lives here.

#[expect(unsafe_code, reason = "unshare and netlink socket options have no safe wrapper")]
pub mod netns;
