//! The link of a container: one end a locked-down bridge port, the other born inside its namespace.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::{
    AF_INET, IFLA_ADDRESS, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_INFO_SLAVE_DATA,
    IFLA_INFO_SLAVE_KIND, IFLA_LINKINFO, IFLA_MASTER, IFLA_MTU, IFLA_NET_NS_FD, Links, NDA_LLADDR,
    RTM_DELNEIGH, RTM_NEWLINK, RTM_NEWNEIGH, address_request, default_route_requests, ifinfo, ignoring,
    ndmsg, neighbour_request, up_request, without_ipv6_request,
};
use crate::netlink::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Refusal, Request};

const VETH_INFO_PEER: u16 = 1;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
const IFLA_BRPORT_MCAST_FLOOD: u16 = 27;
const IFLA_BRPORT_BCAST_FLOOD: u16 = 30;
const IFLA_BRPORT_ISOLATED: u16 = 33;

const NDA_DST: u16 = 1;
const NUD_NOARP: u16 = 0x40;
const NTF_MASTER: u8 = 4;
const AF_BRIDGE: u8 = 7;

/// The two ends to create.
#[derive(Debug)]
pub(crate) struct VethEnds<'a> {
    /// Name of the host end.
    pub(crate) outside: &'a str,
    /// Name of the end in the container.
    pub(crate) inside: &'a str,
    /// The container's network namespace.
    pub(crate) namespace: BorrowedFd<'a>,
    /// The bridge the host end joins.
    pub(crate) bridge: u32,
    /// The container's address, which decides its hardware address.
    pub(crate) address: Ipv4Addr,
    /// Largest packet, bytes.
    pub(crate) mtu: u32,
}

/// A host end that is a port of the bridge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Port {
    pub(crate) index: u32,
    pub(crate) bridge: u32,
    pub(crate) address: Ipv4Addr,
}

/// The hardware address that goes with an IPv4 address: locally administered, unique on the bridge, and
/// still right when the address passes on to another container.
pub(crate) fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x53, a, b, c, d]
}

impl Links {
    /// Creates both ends, down. Neither may be brought up in this message: the kernel answers ENOTCONN.
    pub(crate) fn create_veth(&mut self, ends: &VethEnds<'_>) -> Result<(), Refusal> {
        let namespace = u32::try_from(ends.namespace.as_raw_fd()).unwrap_or(u32::MAX);
        let mut request = Request::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifinfo(0, 0, 0));
        request
            .text(IFLA_IFNAME, ends.outside)
            .number(IFLA_MTU, ends.mtu)
            .number(IFLA_MASTER, ends.bridge);
        request.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.raw(&ifinfo(0, 0, 0))
                        .text(IFLA_IFNAME, ends.inside)
                        .number(IFLA_MTU, ends.mtu)
                        .attribute(IFLA_ADDRESS, &mac_of(ends.address))
                        .number(IFLA_NET_NS_FD, namespace);
                });
            });
        });
        self.socket.execute(&[request])
    }

    /// Locks the host end down, tells the bridge who lives there, and brings it up last.
    ///
    /// Isolated: ports reach the bridge itself, never each other. Nothing is learned or flooded, so a
    /// container can neither draw another's traffic to itself with a forged hardware address nor see
    /// what is not for it; the two static entries replace both, and the host needs no ARP.
    pub(crate) fn lock_port(&mut self, port: Port) -> Result<(), Refusal> {
        // A kernel without IPv6 refuses this, and needs it not.
        let _ = self.socket.execute(&[without_ipv6_request(port.index)]);
        let mut slave = Request::new(RTM_NEWLINK, 0, &ifinfo(port.index, 0, 0));
        slave.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_SLAVE_KIND, "bridge")
                .nest(IFLA_INFO_SLAVE_DATA, |data| {
                    for (kind, value) in [
                        (IFLA_BRPORT_ISOLATED, 1),
                        (IFLA_BRPORT_LEARNING, 0),
                        (IFLA_BRPORT_UNICAST_FLOOD, 0),
                        (IFLA_BRPORT_MCAST_FLOOD, 0),
                        (IFLA_BRPORT_BCAST_FLOOD, 0),
                    ] {
                        data.attribute(kind, &[value]);
                    }
                });
        });
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        let mut forward = Request::new(
            RTM_NEWNEIGH,
            flags,
            &ndmsg(AF_BRIDGE, port.index, NUD_NOARP, NTF_MASTER),
        );
        forward.attribute(NDA_LLADDR, &mac_of(port.address));
        let neighbour = neighbour_request(port.bridge, port.address);
        self.socket
            .execute(&[slave, forward, neighbour, up_request(port.index)])
    }

    /// Forgets which hardware address `address` has; absent is fine.
    pub(crate) fn forget_neighbour(&mut self, bridge: u32, address: Ipv4Addr) -> Result<(), Refusal> {
        let mut request = Request::new(RTM_DELNEIGH, 0, &ndmsg(AF_INET, bridge, 0, 0));
        request.attribute(NDA_DST, &address.octets());
        ignoring(&[Errno::NOENT, Errno::NODEV], self.socket.execute(&[request]))
    }

    /// Inside the container: loopback and link up, one address that is alone on its network, and
    /// everything through `gateway`, whose hardware address is told rather than asked for. With no neighbours of its own, every packet is routed by the host.
    pub(crate) fn configure_inside(
        &mut self,
        index: u32,
        address: Ipv4Addr,
        gateway: Ipv4Addr,
    ) -> Result<(), Refusal> {
        const LOOPBACK: u32 = 1;
        let [on_link, default] = default_route_requests(index, gateway);
        self.socket.execute(&[
            up_request(LOOPBACK),
            address_request(index, address, 32),
            up_request(index),
            neighbour_request(index, gateway),
            on_link,
            default,
        ])
    }
}
