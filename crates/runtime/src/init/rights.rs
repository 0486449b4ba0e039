//! Giving up what a process may do.

use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};
use sys::seccomp::Instruction;

use super::user::Account;
use super::{During, Failure};
use crate::oci::Capabilities;

/// Turns the caller into `account` with the bundle's capabilities, under `filter`.
///
/// Order: the bounding set and the filter need rights that changing the user takes away.
pub(super) fn become_account(
    account: &Account,
    capabilities: &Capabilities,
    filter: &[Instruction],
) -> Result<(), Failure> {
    let groups: Vec<Gid> = account.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    limit_to(set(&capabilities.bounding)?)?;
    set_thread_groups(&groups).during("set the supplementary groups")?;
    set_thread_res_gid(gid, gid, gid).during(format!("become group {}", account.gid))?;
    sys::seccomp::install(filter).during("install the system call filter")?;
    clear_ambient_capability_set().during("clear the ambient capabilities")?;
    if account.uid == 0 {
        return set_capabilities(None, sets(set(&capabilities.permitted)?)).during("limit the capabilities");
    }
    set_thread_res_uid(uid, uid, uid).during(format!("become user {}", account.uid))?;
    set_capabilities(None, sets(CapabilitySet::empty())).during("drop the capabilities")
}

/// Leaves the caller without any right, under `filter`.
pub(super) fn give_up_all(filter: &[Instruction]) -> Result<(), Failure> {
    limit_to(CapabilitySet::empty())?;
    sys::seccomp::install(filter).during("install the system call filter")?;
    set_capabilities(None, sets(CapabilitySet::empty())).during("drop the capabilities")
}

/// Removes everything but `kept` from the bounding set: no program run from here on can get it.
fn limit_to(kept: CapabilitySet) -> Result<(), Failure> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        // The kernel's last capability is known by the first one it does not know.
        if capability_is_in_bounding_set(capability).is_err() {
            break;
        }
        if !kept.contains(capability) {
            remove_capability_from_bounding_set(capability).during("limit the bounding set")?;
        }
    }
    Ok(())
}

fn sets(all: CapabilitySet) -> CapabilitySets {
    CapabilitySets {
        effective: all,
        permitted: all,
        inheritable: CapabilitySet::empty(),
    }
}

/// Capabilities by their bundle names.
fn set(names: &[String]) -> Result<CapabilitySet, Failure> {
    names.iter().try_fold(CapabilitySet::empty(), |set, name| {
        let known = name.strip_prefix("CAP_").and_then(CapabilitySet::from_name);
        known
            .map(|one| set | one)
            .ok_or_else(|| Failure::refused(format!("unknown capability {name}")))
    })
}
