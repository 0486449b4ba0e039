//! Links, addresses and routes of one network namespace, over rtnetlink(7).
//!
//! Each call is one exchange with the kernel. What a link is *for* is decided by the callers.

mod bridge;
mod veth;

use std::net::Ipv4Addr;
use std::time::Duration;

use rustix::io::Errno;

use crate::Cidr;
use crate::netlink::{
    Attributes, Family, Frame, NLM_F_CREATE, NLM_F_REPLACE, Refusal, Request, Socket, ifinfo_index,
};

pub(crate) use veth::{Port, VethEnds, mac_of};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const NDA_LLADDR: u16 = 2;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_GROUP: u16 = 27;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;

const IFF_UP: u32 = 1;
const IF_OPER_UP: u8 = 6;
const AF_INET: u8 = 2;
const AF_INET6: u16 = 10;
const IFINFOMSG: usize = 16;
const IFADDRMSG: usize = 8;
const RTMSG: usize = 12;

const RT_TABLE_LOCAL: u32 = 255;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;

/// A link as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mtu: u32,
    /// Index of the other end, valid in the other end's namespace.
    pub(crate) peer: Option<u32>,
    pub(crate) group: u32,
    /// Whether it carries packets by now; being switched on is not enough.
    pub(crate) state: LinkState,
}

/// RFC 2863's operational state, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    Up,
    Other,
}

/// An IPv4 address on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Assigned {
    pub(crate) index: u32,
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
}

/// An IPv4 route of any table but the local one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) destination: Cidr,
    /// The interface; `None` for blackholes and multipath routes.
    pub(crate) index: Option<u32>,
}

/// A rtnetlink socket.
#[derive(Debug)]
pub(crate) struct Links {
    socket: Socket,
}

impl Links {
    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn open() -> Result<Self, Refusal> {
        Ok(Self {
            socket: Socket::open(Family::Route)?,
        })
    }

    /// The link called `name`.
    pub(crate) fn find(&mut self, name: &str) -> Result<Option<Link>, Refusal> {
        let mut request = Request::new(RTM_GETLINK, 0, &ifinfo(0, 0, 0));
        request.text(IFLA_IFNAME, name);
        match self.socket.query(&request, read_link) {
            Ok(link) => Ok(link),
            Err(refusal) if refusal.is(Errno::NODEV) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// Every link of the namespace.
    pub(crate) fn all(&mut self) -> Result<Vec<Link>, Refusal> {
        let mut links = Vec::new();
        self.socket
            .dump(&Request::new(RTM_GETLINK, 0, &ifinfo(0, 0, 0)), |frame| {
                links.extend(read_link(frame))
            })?;
        Ok(links)
    }

    /// Every IPv4 address of the namespace.
    pub(crate) fn addresses(&mut self) -> Result<Vec<Assigned>, Refusal> {
        let mut addresses = Vec::new();
        let request = Request::new(RTM_GETADDR, 0, &[AF_INET, 0, 0, 0, 0, 0, 0, 0]);
        self.socket
            .dump(&request, |frame| addresses.extend(read_address(frame)))?;
        Ok(addresses)
    }

    /// Every IPv4 route of the namespace, without the local table and cached ones.
    pub(crate) fn routes(&mut self) -> Result<Vec<Route>, Refusal> {
        let mut routes = Vec::new();
        let mut fixed = [0; RTMSG];
        fixed[0] = AF_INET;
        self.socket
            .dump(&Request::new(RTM_GETROUTE, 0, &fixed), |frame| {
                routes.extend(read_route(frame))
            })?;
        Ok(routes)
    }

    /// Removes the link called `name`; absent is fine. Takes tens of milliseconds.
    pub(crate) fn delete(&mut self, name: &str) -> Result<(), Refusal> {
        let mut request = Request::new(RTM_DELLINK, 0, &ifinfo(0, 0, 0));
        request.text(IFLA_IFNAME, name);
        ignoring(&[Errno::NODEV], self.socket.execute(&[request]))
    }

    /// Removes every link in `names` with one wait of the kernel instead of one each; absent is fine.
    /// They are moved into `group` first, which nothing else may use.
    pub(crate) fn delete_together(&mut self, names: &[String], group: u32) -> Result<(), Refusal> {
        for name in names {
            let mut request = Request::new(RTM_SETLINK, 0, &ifinfo(0, 0, 0));
            request.text(IFLA_IFNAME, name).number(IFLA_GROUP, group);
            ignoring(&[Errno::NODEV], self.socket.execute(&[request]))?;
        }
        let mut request = Request::new(RTM_DELLINK, 0, &ifinfo(0, 0, 0));
        request.number(IFLA_GROUP, group);
        ignoring(&[Errno::NODEV], self.socket.execute(&[request]))
    }

    /// Waits until the link called `name` carries packets; whether it does.
    ///
    /// The kernel follows a cable event in the background, and what is sent before that is lost: a first
    /// connection would take a second longer. Asking is what hurries current kernels up.
    pub(crate) fn wait_for_carrier(&mut self, name: &str) -> Result<bool, Refusal> {
        const ATTEMPTS: u32 = 200;
        const PAUSE: Duration = Duration::from_millis(1);
        for attempt in 0..ATTEMPTS {
            if self.find(name)?.is_some_and(|link| link.state == LinkState::Up) {
                return Ok(true);
            }
            if attempt > 0 {
                std::thread::sleep(PAUSE);
            }
        }
        Ok(false)
    }

    /// Gives link `index` an address and brings it up.
    pub(crate) fn assign(&mut self, index: u32, address: Ipv4Addr, prefix: u8) -> Result<(), Refusal> {
        self.socket
            .execute(&[address_request(index, address, prefix), up_request(index)])
    }
}

fn ignoring(tolerated: &[Errno], outcome: Result<(), Refusal>) -> Result<(), Refusal> {
    match outcome {
        Err(refusal) if tolerated.iter().any(|errno| refusal.is(*errno)) => Ok(()),
        other => other,
    }
}

/// `struct ifinfomsg`: only the index and the flags that change matter to requests.
fn ifinfo(index: u32, flags: u32, change: u32) -> [u8; IFINFOMSG] {
    let mut fixed = [0; IFINFOMSG];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    fixed[12..16].copy_from_slice(&change.to_ne_bytes());
    fixed
}

fn up_request(index: u32) -> Request {
    Request::new(RTM_NEWLINK, 0, &ifinfo(index, IFF_UP, IFF_UP))
}

fn address_request(index: u32, address: Ipv4Addr, prefix: u8) -> Request {
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    let [a, b, c, d] = index.to_ne_bytes();
    let mut request = Request::new(
        RTM_NEWADDR,
        NLM_F_CREATE | NLM_F_REPLACE,
        &[AF_INET, prefix, 0, 0, a, b, c, d],
    );
    request
        .attribute(IFA_LOCAL, &address.octets())
        .attribute(IFA_ADDRESS, &address.octets());
    request
}

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_TABLE: u16 = 15;

/// A host route to `gateway` on the link itself, and everything else through it.
fn default_route_requests(index: u32, gateway: Ipv4Addr) -> [Request; 2] {
    let fixed = |length: u8, scope: u8| {
        [
            AF_INET,
            length,
            0,
            0,
            RT_TABLE_MAIN,
            RTPROT_STATIC,
            scope,
            RTN_UNICAST,
            0,
            0,
            0,
            0,
        ]
    };
    let mut on_link = Request::new(
        RTM_NEWROUTE,
        NLM_F_CREATE | NLM_F_REPLACE,
        &fixed(32, RT_SCOPE_LINK),
    );
    on_link
        .attribute(RTA_DST, &gateway.octets())
        .number(RTA_OIF, index);
    let mut default = Request::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &fixed(0, 0));
    default
        .attribute(RTA_GATEWAY, &gateway.octets())
        .number(RTA_OIF, index);
    [on_link, default]
}

/// The hardware address of a neighbour, for good.
fn neighbour_request(index: u32, address: Ipv4Addr) -> Request {
    const NDA_DST: u16 = 1;
    const NUD_PERMANENT: u16 = 0x80;
    let fixed = ndmsg(AF_INET, index, NUD_PERMANENT, 0);
    let mut request = Request::new(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &fixed);
    request
        .attribute(NDA_DST, &address.octets())
        .attribute(NDA_LLADDR, &mac_of(address));
    request
}

/// `struct ndmsg`.
fn ndmsg(family: u8, index: u32, state: u16, flags: u8) -> [u8; 12] {
    let mut fixed = [0; 12];
    fixed[0] = family;
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..10].copy_from_slice(&state.to_ne_bytes());
    fixed[10] = flags;
    fixed
}

/// No IPv6 address may appear on link `index` by itself.
fn without_ipv6_request(index: u32) -> Request {
    let mut request = Request::new(RTM_NEWLINK, 0, &ifinfo(index, 0, 0));
    request.nest(IFLA_AF_SPEC, |spec| {
        spec.nest(AF_INET6, |inet6| {
            inet6.attribute(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
        });
    });
    request
}

fn read_link(frame: &Frame<'_>) -> Option<Link> {
    let attributes = frame.attributes(IFINFOMSG);
    (frame.kind == RTM_NEWLINK).then_some(())?;
    Some(Link {
        index: ifinfo_index(frame.payload)?,
        name: attributes.text(IFLA_IFNAME)?,
        mtu: attributes.number(IFLA_MTU).unwrap_or(0),
        peer: attributes.number(IFLA_LINK),
        group: attributes.number(IFLA_GROUP).unwrap_or(0),
        state: match attributes.get(IFLA_OPERSTATE) {
            Some([IF_OPER_UP, ..]) => LinkState::Up,
            _ => LinkState::Other,
        },
    })
}

fn read_address(frame: &Frame<'_>) -> Option<Assigned> {
    const IFA_LOCAL: u16 = 2;
    Some(Assigned {
        index: ifinfo_index(frame.payload)?,
        address: ipv4(&frame.attributes(IFADDRMSG), IFA_LOCAL)?,
        prefix: *frame.payload.get(1)?,
    })
}

fn read_route(frame: &Frame<'_>) -> Option<Route> {
    const RTM_F_CLONED: u32 = 0x200;
    let attributes = frame.attributes(RTMSG);
    let length = *frame.payload.get(1)?;
    let table = attributes
        .number(RTA_TABLE)
        .or(frame.payload.get(4).map(|table| u32::from(*table)))?;
    let flags = u32::from_ne_bytes(frame.payload.get(8..12)?.try_into().ok()?);
    if table == RT_TABLE_LOCAL || flags & RTM_F_CLONED != 0 {
        return None;
    }
    let destination = ipv4(&attributes, RTA_DST).unwrap_or(Ipv4Addr::UNSPECIFIED);
    Some(Route {
        destination: Cidr::new(destination, length),
        index: attributes.number(RTA_OIF),
    })
}

fn ipv4(attributes: &Attributes<'_>, kind: u16) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = attributes.get(kind)?.try_into().ok()?;
    Some(Ipv4Addr::from(octets))
}
