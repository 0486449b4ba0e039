//! Loop devices: a block device over a file, gone with its last user.
//!
//! Facts: loop(4), include/uapi/linux/loop.h.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::io::Errno;

/// `LOOP_CTL_GET_FREE`: the number of an unused device, made if there is none.
const GET_FREE: libc::Ioctl = 0x4C82;
/// `LOOP_CONFIGURE`, Linux 5.8.
const CONFIGURE: libc::Ioctl = 0x4C0A;
/// `LO_FLAGS_AUTOCLEAR`: the device lets go of its file when nobody has it open or mounted.
const AUTOCLEAR: u32 = 4;
/// Others may take the device that was just found free.
const TRIES: u32 = 1000;

/// A device over a file. When the last of this and its mounts goes, so does the device; a crash leaves none.
#[derive(Debug)]
pub struct LoopDevice {
    /// Keeps it until somebody else does.
    _open: File,
    /// Its node.
    pub path: PathBuf,
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// `struct loop_info64`.
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// Makes a device over `file`, which must be open for reading and writing.
///
/// # Errors
/// The kernel's: `ENOENT` without loop devices in `/dev`, `EPERM` without CAP_SYS_ADMIN, `EINVAL` before Linux 5.8,
/// `EBUSY` when others are always faster.
pub fn attach(file: impl AsFd) -> io::Result<LoopDevice> {
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open("/dev/loop-control")?;
    for _ in 0..TRIES {
        // SAFETY: LOOP_CTL_GET_FREE takes no argument and returns a number.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let open = OpenOptions::new().read(true).write(true).open(&path)?;
        match configure(&open, file.as_fd().as_raw_fd()) {
            Ok(()) => return Ok(LoopDevice { _open: open, path }),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::BUSY) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::BUSY.into())
}

fn configure(device: &File, file: i32) -> io::Result<()> {
    // SAFETY: integers and arrays of integers only; all-zero is a valid value and what unused fields must be.
    let mut config: Config = unsafe { std::mem::zeroed() };
    config.fd = u32::try_from(file).expect("an open descriptor is never negative");
    config.info.flags = AUTOCLEAR;
    // SAFETY: LOOP_CONFIGURE reads one loop_config from a pointer that is valid for the call; `Config` has its layout
    // (304 bytes, no padding). The kernel takes its own reference to the file.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE, &raw const config) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_layout() {
        assert_eq!(size_of::<Info>(), 232);
        assert_eq!(size_of::<Config>(), 304);
    }

    #[test]
    fn a_device_has_the_files_size_and_goes_with_its_holder() {
        let name = format!("/tmp/slipway-loopdev-{}", std::process::id());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&name)
            .unwrap();
        std::fs::remove_file(&name).unwrap();
        file.set_len(1 << 20).unwrap();
        let backing = |device: &LoopDevice| {
            let sys = format!("/sys/block/{}/loop", device.path.file_name().unwrap().display());
            std::fs::read_to_string(format!("{sys}/backing_file")).unwrap_or_default()
        };
        let devices = [attach(&file).unwrap(), attach(&file).unwrap()];
        for device in &devices {
            assert!(backing(device).contains(&name));
            let size = std::fs::read_to_string(format!(
                "/sys/block/{}/size",
                device.path.file_name().unwrap().display()
            ));
            assert_eq!(size.unwrap().trim(), "2048");
        }
        drop(devices);
        let loops = std::fs::read_dir("/sys/block").unwrap().flatten();
        let still: Vec<_> = loops
            .filter_map(|entry| std::fs::read_to_string(entry.path().join("loop/backing_file")).ok())
            .filter(|text| text.contains(&name))
            .collect();
        assert!(still.is_empty(), "{still:?}");
    }
}
