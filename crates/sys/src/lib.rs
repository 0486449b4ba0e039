//! The only room with `unsafe`: system calls no safe wrapper offers, each small, named and with its reason.
//!
//! Knows the kernel and nothing of the platform; no policy lives here.

#[expect(
    unsafe_code,
    reason = "unshare and netlink socket options have no safe wrapper"
)]
pub mod netns;

#[expect(unsafe_code, reason = "subvolumes and their limits are set by ioctl")]
pub mod btrfs;
#[expect(
    unsafe_code,
    reason = "execve, signals by number and the argument area have no safe wrapper"
)]
pub mod exec;
#[expect(unsafe_code, reason = "keyctl has no safe wrapper")]
pub mod keyring;
#[expect(unsafe_code, reason = "interface flags are set by ioctl")]
pub mod loopback;
#[expect(unsafe_code, reason = "loop devices are set up by ioctl")]
pub mod loopdev;
#[expect(unsafe_code, reason = "mount_setattr has no safe wrapper")]
pub mod mount;
#[expect(unsafe_code, reason = "seccomp programs are passed by pointer")]
pub mod seccomp;
#[expect(unsafe_code, reason = "clone3 makes a second copy of this process")]
pub mod spawn;
#[expect(unsafe_code, reason = "clone and signal masks have no safe wrapper")]
pub mod userns;
