//! The network of one platform on this host.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::bridge::{ports, raise_bridge, remove_links, usable_bridge};
use crate::error::During;
use crate::files;
use crate::host::{Host, enable_forwarding};
use crate::leases::{Lease, Leases};
use crate::links::Links;
use crate::names::{Names, check_id};
use crate::netns::Namespace;
use crate::nft::{Contents, Firewall, Found};
use crate::reaper::{Ledger, Reaper};
use crate::{Cidr, Error};

/// How long a container with the id of one that just left may wait for its link to go.
const LEAVING_PATIENCE: Duration = Duration::from_secs(10);

/// What tells one platform's network from another's on the same host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Names bridge and rules: 1 to 8 characters of a-z and 0-9, unique per data directory.
    pub tag: String,
    /// Range the containers' addresses come from; its first address is the host's.
    pub cidr: Cidr,
    /// Directory that holds the address leases; created if absent.
    pub state_dir: PathBuf,
}

/// What a container was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Its own address.
    pub address: Ipv4Addr,
    /// The host's address on the bridge.
    pub gateway: Ipv4Addr,
    /// Always 32: the container has no neighbours, every packet goes through the gateway.
    pub prefix_len: u8,
    /// Largest packet, bytes.
    pub mtu: u32,
}

/// The operator's exceptions to the rules for outgoing traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// Never reached, not even for DNS: control planes, other cells. Wins over everything.
    pub protected: Vec<Cidr>,
    /// Reached although private. The host itself and other containers stay out of reach.
    pub allowed: Vec<Cidr>,
}

/// The network of one platform; see the crate's invariants. Dropping it changes nothing in the kernel,
/// containers keep their connections.
#[derive(Debug)]
pub struct Network {
    pub(crate) network: Cidr,
    pub(crate) names: Names,
    pub(crate) bridge: u32,
    pub(crate) mtu: u32,
    kernel: Mutex<Kernel>,
    pub(crate) ledger: Arc<Ledger>,
    reaper: Option<JoinHandle<()>>,
}

/// The sockets; whoever holds them changes links or rules alone.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) links: Links,
    pub(crate) firewall: Firewall,
    egress: Option<Egress>,
}

impl Network {
    /// Creates or adopts bridge, rules and leases.
    ///
    /// Errors: [`Error::Overlap`] when the range hides something the host reaches,
    /// [`Error::CidrChanged`] when apps still run in another range, [`Error::Kernel`] when the kernel
    /// lacks a part (see [`crate::probe`]) or the caller is not root.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        let names = Names::new(&settings.tag)?;
        let network = settings.cidr;
        if !(8..=28).contains(&network.prefix_len()) {
            return Err(Error::Size(network));
        }
        let leases = Leases::open(&settings.state_dir, network)?;
        let mut links = Links::open().during("open a netlink socket")?;
        let mut firewall = Firewall::open(&names, network).during("open a netlink socket for nftables")?;
        let host = Host::read(&mut links, &names.bridge)?;
        let existing = usable_bridge(&mut links, &names, network)?;
        if existing.is_none() {
            host.check_free(network, &files::resolvers())?;
        }
        // Rules before the bridge: no packet is ever carried without them.
        let found = firewall
            .ensure(&contents(&leases, &names, &host, None))
            .during("load the firewall rules")?;
        let bridge = raise_bridge(&mut links, &names, network, existing, host.mtu())?;
        enable_forwarding(&names.bridge, &host)?;
        tracing::info!(bridge = names.bridge, %network, rules = ?found, "container network ready");

        let ledger = Arc::new(Ledger::new(leases));
        let reaper = start_reaper(&ledger, &names, bridge.index)?;
        let kernel = Mutex::new(Kernel {
            links,
            firewall,
            egress: None,
        });
        let opened = Self {
            network,
            names,
            bridge: bridge.index,
            mtu: bridge.mtu,
            kernel,
            ledger,
            reaper: Some(reaper),
        };
        for warning in opened.warnings()? {
            tracing::warn!("{warning}");
        }
        Ok(opened)
    }

    /// Gives the network namespace of process `pid` a link and an address, and lets it send.
    ///
    /// The same id again repairs what is missing and keeps the address; with another process it moves
    /// there. The process must live until this returns. On an error nothing of a new container is left.
    pub fn attach(&self, id: &str, pid: u32) -> Result<Attached, Error> {
        check_id(id)?;
        let namespace = Namespace::of(pid)?;
        let mut kernel = self.kernel_without(id)?;
        let lease = self.ledger.open().leases.take(id)?;
        let outcome = self.connect(&mut kernel, id, lease.address(), &namespace);
        if let (Err(_), Lease::New(_)) = (&outcome, lease) {
            self.undo(&mut kernel, id, lease.address());
        }
        outcome?;
        let gateway = self.network.gateway();
        Ok(Attached {
            address: lease.address(),
            gateway,
            prefix_len: 32,
            mtu: self.mtu,
        })
    }

    /// Takes container `id` off the network; again, or unknown, is fine. It can send nothing more when
    /// this returns; its link and lease follow within moments (see [`Self::settle`]).
    pub fn detach(&self, id: &str) -> Result<(), Error> {
        check_id(id)?;
        let mut kernel = self.kernel();
        let port = self.names.port(id);
        let address = self.ledger.open().leases.get(id);
        match address {
            Some(address) => kernel
                .firewall
                .evict(&port, address)
                .during(format!("stop {port} from sending"))?,
            None if kernel
                .links
                .find(&port)
                .during(format!("look for {port}"))?
                .is_none() =>
            {
                return Ok(());
            }
            None => {}
        }
        self.ledger.doom(id);
        Ok(())
    }

    /// Every attached container with its address, by id; those being removed are not among them.
    pub fn list(&self) -> Vec<(String, Ipv4Addr)> {
        let book = self.ledger.open();
        let held = book.leases.iter().filter(|(id, _)| !book.is_doomed(id));
        held.map(|(id, address)| (id.clone(), address)).collect()
    }

    /// Removes every container not in `keep`, links of ours that nobody owns, and repairs what others
    /// have changed: flushed rules, a new way out, a new resolver. Returns the ids removed.
    ///
    /// Idempotent, for start-up and a slow timer. `keep` must name every container that may be attached
    /// while this runs.
    pub fn sweep(&self, keep: &HashSet<String>) -> Result<Vec<String>, Error> {
        let removed: Vec<String> = self
            .list()
            .into_iter()
            .map(|(id, _)| id)
            .filter(|id| !keep.contains(id))
            .collect();
        for id in &removed {
            self.detach(id)?;
        }
        let mut kernel = self.kernel();
        self.remove_orphans(&mut kernel)?;
        self.repair(&mut kernel)?;
        Ok(removed)
    }

    /// Replaces the operator's exceptions for outgoing traffic; open connections stay. They last until
    /// replaced, across restarts of this process, but not across a change of the rules themselves: say
    /// them again after every [`Self::open`].
    pub fn set_egress(&self, egress: Egress) -> Result<(), Error> {
        let mut kernel = self.kernel();
        kernel
            .firewall
            .set_egress(&egress)
            .during("change which networks containers reach")?;
        kernel.egress = Some(egress);
        Ok(())
    }

    /// Waits until every detached container's link and lease are gone, at most `patience`; whether they are.
    pub fn settle(&self, patience: Duration) -> bool {
        self.ledger.wait(patience, crate::reaper::Book::is_settled)
    }

    /// Content of `/etc/resolv.conf` for containers: the host's, without what they cannot reach.
    pub fn resolv_conf(&self) -> String {
        files::resolv_conf()
    }

    /// The host's address on the bridge.
    pub fn gateway(&self) -> Ipv4Addr {
        self.network.gateway()
    }

    /// What other software on the host does that cuts containers off, in words for the operator.
    pub fn warnings(&self) -> Result<Vec<String>, Error> {
        let drops = self
            .kernel()
            .firewall
            .foreign_forward_drops()
            .during("look for other firewalls")?;
        let bridge = &self.names.bridge;
        let warn = |chain| {
            format!(
                "another firewall (chain {chain}) drops forwarded packets by default, so containers cannot reach \
                 the outside; let {bridge} pass in it, with Docker for example by `iptables -I DOCKER-USER -i \
                 {bridge} -j ACCEPT` and `iptables -I DOCKER-USER -o {bridge} -j ACCEPT`"
            )
        };
        Ok(drops.into_iter().map(warn).collect())
    }

    /// Removes everything: containers' links, leases, bridge, rules. Forwarding stays as it is. Nothing
    /// can be attached afterwards.
    pub fn destroy(&self) -> Result<(), Error> {
        for (id, _) in self.list() {
            self.detach(&id)?;
        }
        self.settle(LEAVING_PATIENCE);
        let mut kernel = self.kernel();
        remove_links(&mut kernel.links, &self.names)?;
        kernel.firewall.destroy().during("remove the firewall rules")
    }

    /// The sockets, at a moment when container `id` is not on the way out; only their holder dooms one.
    fn kernel_without(&self, id: &str) -> Result<MutexGuard<'_, Kernel>, Error> {
        const ATTEMPTS: usize = 3;
        for _ in 0..ATTEMPTS {
            if !self.ledger.wait(LEAVING_PATIENCE, |book| !book.is_doomed(id)) {
                break;
            }
            let kernel = self.kernel();
            if !self.ledger.open().is_doomed(id) {
                return Ok(kernel);
            }
        }
        Err(Error::StillLeaving(id.to_owned()))
    }

    fn kernel(&self) -> MutexGuard<'_, Kernel> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove_orphans(&self, kernel: &mut Kernel) -> Result<(), Error> {
        let owned: HashSet<String> = self
            .ledger
            .open()
            .leases
            .iter()
            .map(|(id, _)| self.names.port(id))
            .collect();
        let ports = ports(&mut kernel.links, &self.names)?;
        let orphans: Vec<String> = ports.into_iter().filter(|port| !owned.contains(port)).collect();
        if orphans.is_empty() {
            return Ok(());
        }
        kernel
            .links
            .delete_together(&orphans, self.names.doomed_group)
            .during("remove container links of nobody")
    }

    /// Makes rules and forwarding what they must be.
    pub(crate) fn repair(&self, kernel: &mut Kernel) -> Result<(), Error> {
        let host = Host::read(&mut kernel.links, &self.names.bridge)?;
        let contents = contents(
            &self.ledger.open().leases,
            &self.names,
            &host,
            kernel.egress.clone(),
        );
        if kernel
            .firewall
            .ensure(&contents)
            .during("repair the firewall rules")?
            == Found::Replaced
        {
            tracing::warn!(
                "the firewall rules of containers had been changed or flushed, and were loaded again"
            );
        }
        enable_forwarding(&self.names.bridge, &host)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.ledger.stop();
        if let Some(reaper) = self.reaper.take() {
            let _ = reaper.join();
        }
    }
}

fn start_reaper(ledger: &Arc<Ledger>, names: &Names, bridge: u32) -> Result<JoinHandle<()>, Error> {
    let links = Links::open().during("open a netlink socket")?;
    let reaper = Reaper {
        ledger: Arc::clone(ledger),
        links,
        names: names.clone(),
        bridge,
    };
    std::thread::Builder::new()
        .name("network-reaper".to_owned())
        .spawn(move || reaper.run())
        .map_err(|source| Error::System {
            what: "start a thread",
            source,
        })
}

fn contents(leases: &Leases, names: &Names, host: &Host, egress: Option<Egress>) -> Contents {
    let senders = leases
        .iter()
        .map(|(id, address)| (names.port(id), address))
        .collect();
    Contents {
        senders,
        resolvers: host.own(&files::resolvers()),
        egress,
    }
}
