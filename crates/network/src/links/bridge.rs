//! The bridge of a platform: one fixed hardware address, no spanning tree, no snooping, no IPv6.

use std::net::Ipv4Addr;

use super::{
    IFLA_ADDRESS, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MTU, Link, Links,
    RTM_NEWLINK, ifinfo, mac_of, without_ipv6_request,
};
use crate::netlink::{NLM_F_CREATE, NLM_F_EXCL, Refusal, Request};

const IFLA_BR_FORWARD_DELAY: u16 = 1;
const IFLA_BR_STP_STATE: u16 = 5;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;

impl Links {
    /// Creates the bridge `name`, down, with the hardware address that belongs to `gateway`: a bridge
    /// without one of its own changes it as ports come and go, and containers lose their gateway.
    pub(crate) fn create_bridge(
        &mut self,
        name: &str,
        gateway: Ipv4Addr,
        mtu: u32,
    ) -> Result<Option<Link>, Refusal> {
        let mut request = Request::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifinfo(0, 0, 0));
        request
            .text(IFLA_IFNAME, name)
            .attribute(IFLA_ADDRESS, &mac_of(gateway))
            .number(IFLA_MTU, mtu);
        request.nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "bridge").nest(IFLA_INFO_DATA, |data| {
                data.number(IFLA_BR_STP_STATE, 0)
                    .number(IFLA_BR_FORWARD_DELAY, 0)
                    .attribute(IFLA_BR_MCAST_SNOOPING, &[0]);
            });
        });
        self.socket.execute(&[request])?;
        let bridge = self.find(name)?;
        if let Some(bridge) = &bridge {
            // A kernel without IPv6 refuses this, and needs it not.
            let _ = self.socket.execute(&[without_ipv6_request(bridge.index)]);
        }
        Ok(bridge)
    }
}
