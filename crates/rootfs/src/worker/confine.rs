//! Giving up everything but one directory.
//!
//! In this order, each step needing what the next takes away:
//! 1. a user namespace with every id as itself: root inside, no capability over anything of the host;
//! 2. mount, network, ipc and uts namespaces of its own;
//! 3. the draft directory becomes `/`, without devices, programs and set-user-id; everything else is unmounted;
//! 4. limits on memory, CPU time, descriptors; no core dumps;
//! 5. of the capabilities only those that give files their owners, modes and attributes;
//! 6. (after the threads were made) no system call but the few the work needs: none makes a process, a socket or a
//!    mount, so a pid namespace would add nothing.
//!
//! There is no limit on the size of a file: a sparse one may honestly be larger than all that a layer may hold.
//! Where the host refuses a step nothing is unpacked.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use rustix::mount::{
    MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change,
    move_mount, open_tree, unmount,
};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, chdir, fchdir, getpid, getppid, getrlimit, pivot_root,
    set_parent_process_death_signal, setrlimit, umask,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, LinkNameSpaceType, capability_is_in_bounding_set,
    clear_ambient_capability_set, move_into_link_name_space, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};
use sys::mount::{MountChange, change_mount};

use super::{Orders, calls};
use crate::error::UnpackError;

/// Bound on heap and stacks, bytes. With the program itself the process stays below 64 MiB.
const MAX_DATA: u64 = 56 << 20;
/// Descriptors: cached parents, the levels of a removal, the file being written.
const MAX_OPEN: u64 = 256;

/// What unpacking takes: owners; files whose mode keeps their owner out; modes and times of files of others;
/// set-user-id files; file capabilities.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::SETFCAP);

/// Names the step that failed.
trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, UnpackError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, UnpackError> {
        self.map_err(|source| UnpackError::Confine {
            step,
            source: source.into(),
        })
    }
}

/// Steps 1 to 5; returns the draft directory, which is the root now.
pub(super) fn enter(orders: &Orders) -> Result<OwnedFd, UnpackError> {
    die_with(orders.parent)?;
    let namespace = File::open(&orders.namespace).step("open its user namespace")?;
    move_into_link_name_space(
        std::os::fd::AsFd::as_fd(&namespace),
        Some(LinkNameSpaceType::User),
    )
    .step("enter its user namespace")?;
    drop(namespace);
    sys::spawn::unshare_surroundings().step("make its namespaces")?;
    let root = change_root()?;
    umask(Mode::empty());
    limit(orders.cpu_secs())?;
    give_up_capabilities()?;
    Ok(root)
}

/// Step 6, for all threads.
pub(super) fn seal(parent: u32) -> Result<(), UnpackError> {
    // Entering a user namespace may have taken the signal back (PR_SET_PDEATHSIG(2const)).
    die_with(parent)?;
    let filter = calls::filter(getpid().as_raw_nonzero().get().cast_unsigned());
    sys::seccomp::install_on_all_threads(&filter).step("install its system call filter")
}

/// Nothing may write into the draft of a daemon that is gone: the next one removes it.
fn die_with(parent: u32) -> Result<(), UnpackError> {
    set_parent_process_death_signal(Some(Signal::KILL)).step("ask to die with its parent")?;
    let alive = getppid()
        .map(Pid::as_raw_nonzero)
        .map(|pid| pid.get().cast_unsigned())
        == Some(parent);
    if alive {
        Ok(())
    } else {
        Err(io::Error::from(io::ErrorKind::NotFound)).step("find its parent")
    }
}

fn change_root() -> Result<OwnedFd, UnpackError> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).step("make its mounts private")?;
    let draft = fstat(open_dir()?).step("look at the draft")?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, ".", flags).step("take the draft as a mount")?;
    let change = MountChange {
        set: MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC,
        propagation: None,
        user_namespace: None,
    };
    change_mount(&tree, &change).step("restrict the draft's mount")?;
    move_mount(&tree, "", CWD, ".", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).step("mount the draft")?;
    fchdir(&tree).step("enter the draft")?;
    drop(tree);
    pivot_root(".", ".").step("make the draft its root")?;
    unmount(".", UnmountFlags::DETACH).step("leave the host's root")?;
    chdir("/").step("enter its root")?;
    let root = open_dir()?;
    let now = fstat(&root).step("look at its root")?;
    if (now.st_dev, now.st_ino) == (draft.st_dev, draft.st_ino) {
        Ok(root)
    } else {
        Err(io::Error::from(io::ErrorKind::NotFound)).step("find the draft as its root")
    }
}

fn open_dir() -> Result<OwnedFd, UnpackError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, ".", flags, Mode::empty()).step("open the draft")
}

fn limit(cpu_secs: u64) -> Result<(), UnpackError> {
    for (resource, most) in [
        (Resource::Data, MAX_DATA),
        (Resource::Cpu, cpu_secs),
        (Resource::Nofile, MAX_OPEN),
        (Resource::Core, 0),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
    ] {
        // A host that allows less is fine.
        let most = getrlimit(resource).maximum.map_or(most, |own| own.min(most));
        let both = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, both).step("limit its resources")?;
    }
    Ok(())
}

fn give_up_capabilities() -> Result<(), UnpackError> {
    set_no_new_privs(true).step("give up new privileges")?;
    clear_ambient_capability_set().step("clear its ambient capabilities")?;
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        // The kernel's last capability is known by the first one it does not know.
        if capability_is_in_bounding_set(capability).is_err() {
            break;
        }
        remove_capability_from_bounding_set(capability).step("empty its bounding set")?;
    }
    let sets = CapabilitySets {
        effective: KEPT,
        permitted: KEPT,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).step("give up capabilities")
}
