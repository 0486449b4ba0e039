//! Which container has which address, on disk.
//!
//! A lease is a symbolic link named by the address whose target is the container's id: created,
//! exclusive and complete in one system call, so a kill at any moment leaves either a whole lease or
//! none. Addresses are handed out round robin, so that one is not reused while the outside still
//! sends to its last owner.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::names::check_id;
use crate::{Cidr, Error};

/// The leases of one platform.
#[derive(Debug)]
pub(crate) struct Leases {
    directory: PathBuf,
    network: Cidr,
    by_id: BTreeMap<String, Ipv4Addr>,
    taken: BTreeSet<Ipv4Addr>,
    last: Ipv4Addr,
}

/// How an address came to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lease {
    /// It had it.
    Kept(Ipv4Addr),
    /// It was given now.
    New(Ipv4Addr),
}

impl Lease {
    pub(crate) const fn address(self) -> Ipv4Addr {
        match self {
            Self::Kept(address) | Self::New(address) => address,
        }
    }
}

impl Leases {
    /// Reads the leases in `state`, creating what is missing.
    pub(crate) fn open(state: &Path, network: Cidr) -> Result<Self, Error> {
        let directory = state.join("leases");
        let failed = |what, source| Error::State {
            what,
            path: directory.clone(),
            source,
        };
        std::fs::create_dir_all(&directory).map_err(|source| failed("create", source))?;
        let mut by_id = BTreeMap::new();
        let mut taken = BTreeSet::new();
        for entry in std::fs::read_dir(&directory).map_err(|source| failed("list", source))? {
            let entry = entry.map_err(|source| failed("list", source))?;
            let Some(address) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<Ipv4Addr>().ok())
            else {
                continue;
            };
            taken.insert(address);
            match std::fs::read_link(entry.path())
                .ok()
                .and_then(|id| id.to_str().map(str::to_owned))
            {
                Some(id) if check_id(&id).is_ok() => {
                    by_id.insert(id, address);
                }
                _ => tracing::warn!(%address, "ignored an unreadable address lease; delete it by hand"),
            }
        }
        let last = std::fs::read_to_string(directory.join("last")).ok();
        let last = last
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(network.gateway());
        Ok(Self {
            directory,
            network,
            by_id,
            taken,
            last,
        })
    }

    /// The address of container `id`.
    pub(crate) fn get(&self, id: &str) -> Option<Ipv4Addr> {
        self.by_id.get(id).copied()
    }

    /// All leases, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, Ipv4Addr)> {
        self.by_id.iter().map(|(id, address)| (id, *address))
    }

    /// The address of container `id`, a free one if it has none yet or one of another network.
    pub(crate) fn take(&mut self, id: &str) -> Result<Lease, Error> {
        match self.get(id) {
            Some(address) if self.network.contains(address) => return Ok(Lease::Kept(address)),
            Some(_) => self.release(id)?,
            None => {}
        }
        let (first, last) = self.network.container_range();
        let start = self
            .last
            .to_bits()
            .checked_add(1)
            .filter(|next| (first..=last).contains(next))
            .unwrap_or(first);
        for candidate in (start..=last).chain(first..start).map(Ipv4Addr::from_bits) {
            if !self.taken.contains(&candidate) && self.claim(id, candidate)? {
                self.remember(candidate);
                return Ok(Lease::New(candidate));
            }
        }
        Err(Error::Exhausted(self.network))
    }

    /// Gives the address of container `id` back; no lease is fine.
    pub(crate) fn release(&mut self, id: &str) -> Result<(), Error> {
        let Some(address) = self.get(id) else {
            return Ok(());
        };
        let path = self.directory.join(address.to_string());
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(Error::State {
                    what: "remove",
                    path,
                    source,
                });
            }
            _ => {}
        }
        self.by_id.remove(id);
        self.taken.remove(&address);
        Ok(())
    }

    fn claim(&mut self, id: &str, address: Ipv4Addr) -> Result<bool, Error> {
        let path = self.directory.join(address.to_string());
        let claimed = match std::os::unix::fs::symlink(id, &path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(source) => {
                return Err(Error::State {
                    what: "create",
                    path,
                    source,
                });
            }
        };
        self.taken.insert(address);
        if claimed {
            self.by_id.insert(id.to_owned(), address);
        }
        Ok(claimed)
    }

    /// Losing this costs only the order of reuse after a restart.
    fn remember(&mut self, address: Ipv4Addr) {
        self.last = address;
        if let Err(error) = std::fs::write(self.directory.join("last"), address.to_string()) {
            tracing::debug!(%error, "cannot note the last address handed out");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(state: &Path) -> Leases {
        Leases::open(state, "10.9.0.0/29".parse().unwrap()).unwrap()
    }

    #[test]
    fn addresses_go_round_and_survive_a_restart() {
        let state = tempfile::tempdir().unwrap();
        let mut leases = open(state.path());
        let a = leases.take("a").unwrap();
        assert_eq!(a, Lease::New(Ipv4Addr::new(10, 9, 0, 2)));
        assert_eq!(leases.take("a").unwrap(), Lease::Kept(a.address()));
        leases.release("a").unwrap();
        leases.release("a").unwrap();
        let mut leases = open(state.path());
        assert_eq!(leases.take("b").unwrap(), Lease::New(Ipv4Addr::new(10, 9, 0, 3)));
        let leases = open(state.path());
        assert_eq!(leases.get("b"), Some(Ipv4Addr::new(10, 9, 0, 3)));
        assert_eq!(leases.iter().count(), 1);
    }

    #[test]
    fn a_full_network_says_so_and_a_released_address_is_found() {
        let state = tempfile::tempdir().unwrap();
        let mut leases = open(state.path());
        for id in ["a", "b", "c", "d", "e"] {
            leases.take(id).unwrap();
        }
        assert!(matches!(leases.take("f"), Err(Error::Exhausted(_))));
        leases.release("c").unwrap();
        assert_eq!(leases.take("f").unwrap(), Lease::New(Ipv4Addr::new(10, 9, 0, 4)));
    }

    #[test]
    fn two_holders_of_one_directory_never_share_an_address() {
        let state = tempfile::tempdir().unwrap();
        let (mut one, mut two) = (open(state.path()), open(state.path()));
        assert_ne!(one.take("a").unwrap().address(), two.take("b").unwrap().address());
    }

    #[test]
    fn a_lease_of_another_network_is_replaced() {
        let state = tempfile::tempdir().unwrap();
        open(state.path()).take("a").unwrap();
        let mut moved = Leases::open(state.path(), "10.8.0.0/29".parse().unwrap()).unwrap();
        assert_eq!(moved.take("a").unwrap(), Lease::New(Ipv4Addr::new(10, 8, 0, 2)));
        assert_eq!(std::fs::read_dir(state.path().join("leases")).unwrap().count(), 2);
    }
}
