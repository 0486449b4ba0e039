//! Pseudo terminals of the container's own devpts.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Gid, Mode, OFlags, Uid, fchown, fstat, fstatfs, major, minor, openat};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::mounts::attach;
use super::{During, Failure, inside};
use crate::oci::ConsoleSize;

/// `DEVPTS_SUPER_MAGIC` of linux/magic.h.
const DEVPTS: i64 = 0x1CD1;
/// Numbers of the multiplexer (kernel Documentation/admin-guide/devices.txt).
const MULTIPLEXER: (u32, u32) = (5, 2);

/// Both ends of a pty.
pub(crate) struct Terminal {
    /// For whoever looks at the terminal.
    pub master: OwnedFd,
    /// For the program.
    pub slave: OwnedFd,
}

/// Opens a new pty of the devpts below `root`, for user `uid`.
///
/// What is at the path is the image's word: only the multiplexer of a real devpts is used, so that nothing else can
/// stand in for it (CVE-2025-52565).
pub(crate) fn open(root: BorrowedFd<'_>, uid: u32, size: Option<ConsoleSize>) -> Result<Terminal, Failure> {
    let place = inside::open_plain(root, "/dev/pts").during("open /dev/pts, which a terminal needs")?;
    let found = fstatfs(&place).during("look at /dev/pts")?;
    #[allow(
        clippy::unnecessary_cast,
        reason = "the field's type depends on the architecture"
    )]
    let magic = found.f_type as i64;
    if magic != DEVPTS {
        return Err(Failure::refused("/dev/pts is no devpts, which a terminal needs"));
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let master = openat(&place, "ptmx", flags, Mode::empty()).during("open /dev/pts/ptmx")?;
    let stat = fstat(&master).during("look at /dev/pts/ptmx")?;
    let number = (major(stat.st_rdev), minor(stat.st_rdev));
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || number != MULTIPLEXER {
        return Err(Failure::refused("/dev/pts/ptmx is no terminal multiplexer"));
    }
    unlockpt(&master).during("unlock the terminal")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags).during("open the terminal")?;
    fchown(&slave, Some(Uid::from_raw(uid)), None::<Gid>).during("hand over the terminal")?;
    if let Some(size) = size {
        resize(master.as_fd(), size).during("set the size of the terminal")?;
    }
    Ok(Terminal { master, slave })
}

/// Sets the size; programs on the terminal get `SIGWINCH`.
pub(crate) fn resize(master: BorrowedFd<'_>, size: ConsoleSize) -> rustix::io::Result<()> {
    let size = Winsize {
        ws_row: size.height,
        ws_col: size.width,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size)
}

/// Sends the master over a socket, as the specification's console sockets have it.
pub(crate) fn send(to: BorrowedFd<'_>, master: &OwnedFd) -> Result<(), Failure> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [master.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let name = IoSlice::new(b"/dev/ptmx");
    sendmsg(to, &[name], &mut control, SendFlags::NOSIGNAL).during("send the terminal")?;
    Ok(())
}

/// Shows the terminal as /dev/console. What is mounted is the very node behind the slave.
pub(crate) fn show_console(root: BorrowedFd<'_>, terminal: &Terminal) -> Result<(), Failure> {
    let name = ptsname(&terminal.master, Vec::new()).during("ask for the terminal's name")?;
    let name = name.to_string_lossy();
    let node = inside::open_plain(root, &name).during(format!("open {name}"))?;
    let (is, should) = (fstat(&node), fstat(&terminal.slave));
    let (is, should) = (
        is.during("look at the terminal")?,
        should.during("look at the terminal")?,
    );
    if (is.st_dev, is.st_ino, is.st_rdev) != (should.st_dev, should.st_ino, should.st_rdev) {
        return Err(Failure::refused(format!("{name} is not the terminal just made")));
    }
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(&node, "", flags).during("copy the mount of the terminal")?;
    let target = inside::target(root, "/dev/console", inside::Kind::File)?;
    attach(&tree, &target).during("mount /dev/console")
}
