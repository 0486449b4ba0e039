//! The overlay mount itself: by descriptors where the kernel takes them, by paths where it does not.
//!
//! Options: `volatile` (an instance's writes need not survive a power failure, and unmounting does not flush),
//! `redirect_dir=on` (renaming a directory of the image works as on any filesystem), `metacopy=off`, `index=off`.
//! `redirect` attributes can only come from this kernel: layers are stripped of `trusted.*`, and a container cannot
//! set it. Facts: Documentation/filesystems/overlayfs.rst, fsopen(2).

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::symlink;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    move_mount, open_tree,
};
use sys::mount::{MountChange, change_mount};

use crate::error::AssembleError;
use crate::instance::{Dirs, Target, detach, make_dir};

/// Shown as the device in mount tables.
const SOURCE: &str = "slipway";
/// Options with a value.
const OPTIONS: [(&str, &str); 3] = [("redirect_dir", "on"), ("metacopy", "off"), ("index", "off")];
/// mount(2) takes one page of options, with the NUL.
const MAX_OPTIONS: usize = 4095;

/// How overlays are mounted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// Each layer as a descriptor of a detached mount (Linux 6.13): nothing is ever visible half-made.
    Descriptors,
    /// The view is attached for a moment and the layers are paths through it.
    Paths,
}

/// What to mount.
pub(crate) struct Stack<'a> {
    /// The id-mapped, detached view of the layers.
    pub(crate) view: OwnedFd,
    /// Directories in the view, top first.
    pub(crate) names: &'a [&'a str],
    pub(crate) dirs: &'a Dirs,
}

/// Asks the kernel whether it takes a layer as a descriptor.
pub(crate) fn probe() -> Result<Method, AssembleError> {
    let fs = open_overlay()?;
    let any = openat(
        rustix::fs::CWD,
        "/",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(AssembleError::mounting("open /"))?;
    let taken = fsconfig_set_fd(&fs, "lowerdir+", &any).is_ok();
    Ok(if taken { Method::Descriptors } else { Method::Paths })
}

/// Mounts the stack, detached.
pub(crate) fn mount(method: Method, stack: &Stack<'_>) -> Result<OwnedFd, AssembleError> {
    match method {
        Method::Descriptors => by_descriptors(stack),
        Method::Paths => by_paths(stack),
    }
}

/// Makes a detached mount appear on the target.
pub(crate) fn attach(mount: &OwnedFd, target: &Target) -> Result<(), AssembleError> {
    move_to(mount.as_fd(), target.fd.as_fd()).map_err(AssembleError::mounting("attach the overlay"))?;
    // Mounts made below by one container are nobody else's business. Attaching gave it its parent's propagation.
    let private = MountChange {
        set: MountAttrFlags::empty(),
        propagation: Some(MountPropagationFlags::PRIVATE),
        user_namespace: None,
    };
    change_mount(mount, &private).map_err(AssembleError::mounting("make the overlay private"))
}

fn by_descriptors(stack: &Stack<'_>) -> Result<OwnedFd, AssembleError> {
    let fs = open_overlay()?;
    let fail = |step| {
        let fs = fs.as_fd();
        move |errno: Errno| AssembleError::Mount {
            step,
            message: messages(fs),
            source: errno.into(),
        }
    };
    fsconfig_set_string(&fs, "source", SOURCE).map_err(fail("name the overlay"))?;
    for name in stack.names {
        let layer = open(stack.view.as_fd(), name).map_err(fail("open a layer"))?;
        fsconfig_set_fd(&fs, "lowerdir+", &layer).map_err(fail("add a layer to the overlay"))?;
    }
    for (option, name) in [("upperdir", "upper"), ("workdir", "work")] {
        let dir = open(stack.dirs.room().as_fd(), name).map_err(fail("open the upper directory"))?;
        fsconfig_set_fd(&fs, option, &dir).map_err(fail("add the upper directory to the overlay"))?;
    }
    fsconfig_set_flag(&fs, "volatile").map_err(fail("make the overlay volatile"))?;
    for (option, value) in OPTIONS {
        fsconfig_set_string(&fs, option, value).map_err(fail("set an option of the overlay"))?;
    }
    fsconfig_create(&fs).map_err(fail("create the overlay"))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(fail("mount the overlay"))
}

/// The view must be attached somewhere, and the overlay too; both places are in the instance's closed directory and
/// are detached at once. A crash in between leaves them to `discard`.
fn by_paths(stack: &Stack<'_>) -> Result<OwnedFd, AssembleError> {
    let rw = stack.dirs.rw_path();
    let (lower, staging, links) = (rw.join("lower"), rw.join("staging"), rw.join("l"));
    for dir in [&lower, &staging, &links] {
        make_dir(dir, 0o700)?;
    }
    // Short names: all of them must fit in one page.
    for (at, name) in stack.names.iter().enumerate() {
        let link = links.join(at.to_string());
        symlink(format!("../lower/{name}"), &link).map_err(AssembleError::io("create", &link))?;
    }
    let options = options(stack.dirs, stack.names.len())?;
    let place = open(stack.dirs.rw().as_fd(), "lower").map_err(AssembleError::io("open", &lower))?;
    move_to(stack.view.as_fd(), place.as_fd()).map_err(AssembleError::mounting("attach the layers"))?;
    // These kernels take an upper directory only from a mount they know.
    let room = rw.join("room");
    if let Some(own) = stack.dirs.own() {
        make_dir(&room, 0o700)?;
        let place = open(stack.dirs.rw().as_fd(), "room").map_err(AssembleError::io("open", &room))?;
        move_to(own.as_fd(), place.as_fd())
            .map_err(AssembleError::mounting("attach the upper filesystem"))?;
    }
    let mounted = rustix::mount::mount(
        SOURCE,
        &staging,
        "overlay",
        MountFlags::NODEV,
        Some(options.as_c_str()),
    )
    .map_err(AssembleError::mounting("mount the overlay"));
    detach(&lower)?;
    detach(&room)?;
    mounted?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let merged =
        open_tree(rustix::fs::CWD, &staging, clone).map_err(AssembleError::mounting("detach the overlay"));
    detach(&staging)?;
    merged
}

fn options(dirs: &Dirs, layers: usize) -> Result<CString, AssembleError> {
    let path = |dir: &OwnedFd| format!("/proc/self/fd/{}", dir.as_raw_fd());
    let (base, room) = (path(dirs.rw()), path(dirs.room()));
    let lowers: Vec<_> = (0..layers).map(|at| format!("{base}/l/{at}")).collect();
    let mut text = format!(
        "lowerdir={},upperdir={room}/upper,workdir={room}/work,volatile",
        lowers.join(":")
    );
    for (option, value) in OPTIONS {
        text.push_str(&format!(",{option}={value}"));
    }
    if text.len() > MAX_OPTIONS {
        return Err(AssembleError::TooManyLayers { count: layers });
    }
    CString::new(text).map_err(AssembleError::mounting("name the layers"))
}

fn open_overlay() -> Result<OwnedFd, AssembleError> {
    fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(AssembleError::mounting(
        "open the overlay filesystem (is it in this kernel, are we root?)",
    ))
}

fn open(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

fn move_to(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", place, "", flags)
}

/// What the kernel logged on a filesystem context: one message per read.
pub(crate) fn messages(fs: impl AsFd) -> String {
    let mut all = Vec::new();
    let mut buffer = [0u8; 512];
    // The kernel keeps at most eight.
    for _ in 0..8 {
        match rustix::io::read(&fs, &mut buffer) {
            Ok(len) if len > 0 => all.push(
                String::from_utf8_lossy(buffer.get(..len).unwrap_or_default())
                    .trim()
                    .to_owned(),
            ),
            _ => break,
        }
    }
    all.join("; ")
}
