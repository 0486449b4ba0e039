//! A filesystem of its own for what an instance writes, in a file without a name on the host's filesystem.
//!
//! Nothing here is ever seen by others or left behind: the file has no name, the loop device lets go of it with its
//! last user, and the mount is never attached where a mount table shows it. Whoever holds the [`OwnedFd`] keeps all
//! three; then the overlay over it does, which outlives this process and is the only thing that must be unmounted.
//! `kill -9` at any point leaves either an overlay with its room or nothing.
//!
//! The device goes through the page cache of the host's filesystem: past it, mounting and the first files would wait
//! for the disk, three times as long as all the rest. The price is that what an instance wrote itself may be cached
//! twice; layers are not behind the device.
//!
//! The file is sparse and stays so large as the instance ever made it: deleting gives room to the instance, not to the
//! host, because the punching of holes would make each deletion wait for the host's disk. What instances may have in
//! total is the concern of who admits them.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::fs::{Mode, mkdirat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};
use sys::loopdev::attach;

use super::template::Template;
use crate::error::AssembleError;
use crate::overlay::messages;

/// Templates kept; each has about 100 KiB.
const TEMPLATES: usize = 32;
/// Rooms made ahead, of each of the sizes used last.
const READY: usize = 2;
/// So many sizes.
const SIZES: usize = 4;
/// Rooms differ by at least this, and by a sixty-fourth of their size: so that versions of one app share a template.
const STEP: u64 = 1 << 20;
const STEPS: u64 = 64;
/// Smallest room (grootfs: the least a writable layer may have).
pub(super) const SMALLEST: u64 = 256 << 10;
/// Largest: files cannot be much larger on ext4, and no host has more.
const LARGEST: u64 = 8 << 40;

/// Makes rooms. All calls block.
#[derive(Debug)]
pub(super) struct LoopFs {
    dir: PathBuf,
    /// The last used is last.
    templates: Mutex<VecDeque<(u64, Arc<Template>)>>,
    ready: Mutex<Vec<(u64, OwnedFd)>>,
}

impl LoopFs {
    /// Tries it out in `dir`.
    pub(super) fn open(dir: &Path) -> Result<Self, AssembleError> {
        let loopfs = Self {
            dir: dir.to_owned(),
            templates: Mutex::default(),
            ready: Mutex::default(),
        };
        let template = loopfs.template(STEP)?;
        loopfs.make(&template)?;
        loopfs.templates().clear();
        Ok(loopfs)
    }

    /// A room in which at least `bytes` can be written, and at most a sixty-fourth or 1 MiB more: the root of a
    /// filesystem that is attached nowhere and has the empty directories `upper` and `work`.
    pub(super) fn room(&self, bytes: u64) -> Result<OwnedFd, AssembleError> {
        let size = size(bytes);
        let template = self.template(size)?;
        let mut ready = self.ready();
        let at = ready.iter().position(|(of, _)| *of == size);
        let taken = at.map(|at| ready.swap_remove(at).1);
        drop(ready);
        match taken {
            Some(room) => Ok(room),
            None => self.make(&template),
        }
    }

    /// Makes rooms ahead for the next instances of the sizes used last, and lets go of those of other sizes.
    pub(super) fn stock(&self) -> Result<(), AssembleError> {
        let wanted: Vec<_> = self.templates().iter().rev().take(SIZES).cloned().collect();
        // Letting go of a filesystem takes a while: without the lock.
        let (kept, gone) = std::mem::take(&mut *self.ready())
            .into_iter()
            .partition(|(size, _)| wanted.iter().any(|(of, _)| of == size));
        self.ready().extend::<Vec<_>>(kept);
        drop::<Vec<_>>(gone);
        for (size, template) in wanted {
            while self.ready().iter().filter(|(of, _)| *of == size).count() < READY {
                let room = self.make(&template)?;
                self.ready().push((size, room));
            }
        }
        Ok(())
    }

    /// Lets go of all rooms made ahead.
    pub(super) fn drain(&self) {
        self.templates().clear();
        let rooms = std::mem::take(&mut *self.ready());
        drop(rooms);
    }

    fn template(&self, size: u64) -> Result<Arc<Template>, AssembleError> {
        let mut templates = self.templates();
        let known = templates.iter().position(|(of, _)| *of == size);
        let template = match known.and_then(|at| templates.remove(at)) {
            Some((_, template)) => template,
            None => {
                drop(templates);
                let made = Template::make(&self.dir, size).map_err(AssembleError::mounting(
                    "make an empty filesystem (is e2fsprogs installed?)",
                ))?;
                templates = self.templates();
                Arc::new(made)
            }
        };
        templates.retain(|(of, _)| *of != size);
        templates.push_back((size, Arc::clone(&template)));
        if templates.len() > TEMPLATES {
            templates.pop_front();
        }
        Ok(template)
    }

    fn make(&self, template: &Template) -> Result<OwnedFd, AssembleError> {
        let file = template
            .copy(&self.dir)
            .map_err(AssembleError::io("make a file for a filesystem in", &self.dir))?;
        let device = attach(&file).map_err(AssembleError::mounting(
            "attach a loop device (is the loop module loaded?)",
        ))?;
        let fs = fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC).map_err(AssembleError::mounting(
            "open the ext4 filesystem (is it in this kernel?)",
        ))?;
        let configured = fsconfig_set_string(&fs, "source", device.path.as_os_str())
            // Nobody reads the inode tables before they are written.
            .and_then(|()| fsconfig_set_flag(&fs, "noinit_itable"))
            // Nothing of it need survive a power failure.
            .and_then(|()| fsconfig_set_flag(&fs, "nobarrier"))
            // When the host cannot keep what was written, nothing more is.
            .and_then(|()| fsconfig_set_string(&fs, "errors", "remount-ro"))
            .and_then(|()| fsconfig_create(&fs))
            .and_then(|()| fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()));
        let room = configured.map_err(|errno| AssembleError::Mount {
            step: "mount a filesystem of its own for the instance",
            message: messages(&fs),
            source: errno.into(),
        })?;
        // The first directories make the kernel read its maps, which a room made ahead then has in memory.
        for name in ["work", "upper"] {
            let step = "make directories in a filesystem of its own";
            mkdirat(&room, name, Mode::RWXU).map_err(AssembleError::mounting(step))?;
        }
        Ok(room)
    }

    fn templates(&self) -> MutexGuard<'_, VecDeque<(u64, Arc<Template>)>> {
        self.templates.lock().expect("no holder of this lock panics")
    }

    fn ready(&self) -> MutexGuard<'_, Vec<(u64, OwnedFd)>> {
        self.ready.lock().expect("no holder of this lock panics")
    }
}

/// The size of the room in which `bytes` can be written.
fn size(bytes: u64) -> u64 {
    let bytes = bytes.clamp(SMALLEST, LARGEST);
    if bytes < STEP {
        return SMALLEST.max(bytes.next_multiple_of(SMALLEST));
    }
    let step = (bytes.next_power_of_two() / STEPS / 2).max(STEP);
    bytes.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_come_in_few_sizes_never_too_small_and_hardly_too_large() {
        for (bytes, expected) in [
            (0, SMALLEST),
            (SMALLEST + 1, 2 * SMALLEST),
            (STEP, STEP),
            (STEP + 1, 2 * STEP),
            (1014 << 20, 1016 << 20),
            (1 << 30, 1 << 30),
            ((1 << 30) + 1, (1 << 30) + (16 << 20)),
        ] {
            assert_eq!(size(bytes), expected, "{bytes}");
        }
        for bytes in (STEP..STEP << 12).step_by(777_777) {
            let size = size(bytes);
            assert!(
                size >= bytes && size - bytes <= (bytes / STEPS).max(STEP),
                "{bytes} {size}"
            );
        }
        assert_eq!(size(u64::MAX), LARGEST);
    }
}
