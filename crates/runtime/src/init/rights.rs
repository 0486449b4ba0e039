//! Giving up what a process may do.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use sys::seccomp::Instruction;

use super::{During, Failure};
use crate::oci::Process;

/// Turns the caller into the user of `process` with its capabilities, under `filter`.
///
/// Order: the bounding set and the filter need rights that changing the user takes away.
pub(super) fn become_user(process: &Process, filter: Option<&[Instruction]>) -> Result<(), Failure> {
    let user = &process.user;
    let groups: Vec<Gid> = user
        .additional_gids
        .iter()
        .map(|gid| Gid::from_raw(*gid))
        .collect();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let wanted = &process.capabilities;
    limit_to(set(&wanted.bounding)?)?;
    set_thread_groups(&groups).during("set the supplementary groups")?;
    set_thread_res_gid(gid, gid, gid).during(format!("become group {}", user.gid))?;
    if process.no_new_privileges {
        set_no_new_privs(true).during("forbid new privileges")?;
    }
    if let Some(filter) = filter {
        sys::seccomp::install(filter).during("install the system call filter")?;
    }
    clear_ambient_capability_set().during("clear the ambient capabilities")?;
    let sets = CapabilitySets {
        effective: set(&wanted.effective)?,
        permitted: set(&wanted.permitted)?,
        inheritable: set(&wanted.inheritable)?,
    };
    let ambient = set(&wanted.ambient)?;
    set_keep_capabilities(!sets.permitted.is_empty()).during("keep the capabilities")?;
    set_thread_res_uid(uid, uid, uid).during(format!("become user {}", user.uid))?;
    set_capabilities(None, sets).during("limit the capabilities")?;
    for one in ambient.iter() {
        match configure_capability_in_ambient_set(one, true) {
            // Not permitted or not inheritable: what cannot be granted must not fail (config.md, "capabilities").
            Err(Errno::PERM) => {}
            set => set.during("set the ambient capabilities")?,
        }
    }
    Ok(())
}

/// Leaves the caller without any right, under `filter`.
pub(super) fn give_up_all(filter: Option<&[Instruction]>) -> Result<(), Failure> {
    limit_to(CapabilitySet::empty())?;
    if let Some(filter) = filter {
        sys::seccomp::install(filter).during("install the system call filter")?;
    }
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
pub(crate) fn set(names: &[String]) -> Result<CapabilitySet, Failure> {
    names.iter().try_fold(CapabilitySet::empty(), |set, name| {
        let known = name.strip_prefix("CAP_").and_then(CapabilitySet::from_name);
        known
            .map(|one| set | one)
            .ok_or_else(|| Failure::refused(format!("unknown capability {name}")))
    })
}
