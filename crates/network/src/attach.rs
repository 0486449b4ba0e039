//! The steps of attaching a container; each finds out what is already there.

use std::net::Ipv4Addr;

use rustix::io::Errno;

use crate::error::During;
use crate::links::{Links, Port, VethEnds};
use crate::names::INSIDE;
use crate::netns::{Namespace, set_sysctl};
use crate::network::Kernel;
use crate::{Error, Network};

impl Network {
    /// Links the namespace `into` with the bridge and lets it send; whatever stands is kept.
    pub(crate) fn connect(
        &self,
        kernel: &mut Kernel,
        id: &str,
        address: Ipv4Addr,
        into: &Namespace,
    ) -> Result<(), Error> {
        let port = self.names.port(id);
        let failed = || format!("connect container {id} by {port}");
        let missing = || Error::Namespace {
            pid: into.pid,
            why: "its new interface disappeared".to_owned(),
        };
        let mut inside = into
            .run(enter_and_prepare)?
            .during("open a netlink socket in the container")?;
        let links = &mut kernel.links;
        if !is_linked(links, &mut inside, id, &port, into.pid)? {
            links.delete(&port).during(failed())?;
            let (bridge, mtu, namespace) = (self.bridge, self.mtu, into.fd());
            let ends = VethEnds {
                outside: &port,
                inside: INSIDE,
                namespace,
                bridge,
                address,
                mtu,
            };
            links.create_veth(&ends).during(failed())?;
        }
        let outer = links.find(&port).during(failed())?.ok_or_else(missing)?;
        let inner = inside.find(INSIDE).during(failed())?.ok_or_else(missing)?;
        inside
            .configure_inside(inner.index, address, self.network.gateway())
            .during(failed())?;
        links
            .lock_port(Port {
                index: outer.index,
                bridge: self.bridge,
                address,
            })
            .during(failed())?;
        // The port first: the bridge follows it.
        let carried = links.wait_for_carrier(&port).during(failed())?
            && links.wait_for_carrier(&self.names.bridge).during(failed())?
            && inside.wait_for_carrier(INSIDE).during(failed())?;
        if !carried {
            tracing::warn!(id, port, "the link of a container is slow to come up");
        }
        match kernel.firewall.admit(&port, address) {
            // Somebody flushed the rules of the whole host.
            Err(refusal) if refusal.is(Errno::NOENT) => self.repair(kernel),
            other => other.during(failed()),
        }
    }

    /// Best effort: what fails here is found by the next sweep, from the link's name.
    pub(crate) fn undo(&self, kernel: &mut Kernel, id: &str, address: Ipv4Addr) {
        let port = self.names.port(id);
        let _ = kernel.firewall.evict(&port, address);
        let _ = kernel.links.delete(&port);
        let _ = kernel.links.forget_neighbour(self.bridge, address);
        let _ = self.ledger.open().leases.release(id);
    }
}

/// Whether `port` already leads into the namespace of `inside`; an interface there that is not its other
/// end belongs to somebody else.
fn is_linked(links: &mut Links, inside: &mut Links, id: &str, port: &str, pid: u32) -> Result<bool, Error> {
    let outer = links.find(port).during(format!("look for {port}"))?;
    let Some(inner) = inside.find(INSIDE).during("look into the container")? else {
        return Ok(false);
    };
    match outer {
        Some(outer) if outer.peer == Some(inner.index) && inner.peer == Some(outer.index) => Ok(true),
        _ => {
            let why = format!("it already has an interface {INSIDE} that does not belong to container {id}");
            Err(Error::Namespace { pid, why })
        }
    }
}

/// Runs inside the container's namespace: kernel parameters first, since interfaces copy them at birth.
fn enter_and_prepare() -> Result<Links, crate::Refusal> {
    for (name, value) in [
        // No IPv6 beyond loopback: there is no route for it, and programs would try it first.
        ("ipv6/conf/default/disable_ipv6", "1"),
        // Redirects would send packets to neighbours that isolation hides.
        ("ipv4/conf/all/accept_redirects", "0"),
        ("ipv4/conf/default/accept_redirects", "0"),
        // Ports below 1024 and ping need no privilege where nobody else is.
        ("ipv4/ip_unprivileged_port_start", "0"),
        ("ipv4/ping_group_range", "0 2147483647"),
    ] {
        if let Err(error) = set_sysctl(name, value) {
            tracing::debug!(error = %base::Report(&error), "container starts without a network parameter");
        }
    }
    Links::open()
}
