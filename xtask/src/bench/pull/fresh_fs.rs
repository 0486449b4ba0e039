//! A new, journalled ext4 in memory for each pull: creating files beside recently deleted ones, or on a disk that others
//! use, would measure that instead.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// Room for the largest image several times; only what is used takes memory.
const BYTES: u64 = 8 << 30;

/// A mounted file system; it goes with all that is mounted in it when this is dropped.
pub struct FreshFs {
    file: PathBuf,
    mount: PathBuf,
}

impl FreshFs {
    /// Makes and mounts one below `dir`, which should be in memory.
    ///
    /// # Errors
    /// When the tools are missing or refuse: this needs root and a free loop device.
    pub fn make(dir: &Path) -> anyhow::Result<Self> {
        let fs = Self {
            file: dir.join("fresh.ext4"),
            mount: dir.join("fresh"),
        };
        File::create(&fs.file)?.set_len(BYTES)?;
        fs::create_dir_all(&fs.mount)?;
        let (file, mount) = (fs.file.display().to_string(), fs.mount.display().to_string());
        let options = "lazy_itable_init=1,nodiscard";
        tool("mkfs.ext4", &["-q", "-F", "-E", options, &file])?;
        // The kernel would fill the inode tables in the background, at the cost of who comes first.
        tool("mount", &["-o", "loop,noinit_itable", &file, &mount])?;
        Ok(fs)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Writes everything to its disk.
    pub fn sync(&self) -> anyhow::Result<()> {
        tool("sync", &["-f", &self.mount.display().to_string()])
    }
}

impl Drop for FreshFs {
    fn drop(&mut self) {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        let mut inside: Vec<&Path> = points
            .map(Path::new)
            .filter(|point| point.starts_with(&self.mount))
            .collect();
        inside.reverse();
        for point in inside {
            // Without this one, a second look is of no use: lazily, it goes as soon as nobody uses it.
            if !umount(&[], point) {
                umount(&["-l"], point);
            }
        }
        let _ = fs::remove_file(&self.file);
    }
}

fn umount(options: &[&str], point: &Path) -> bool {
    let output = Command::new("umount").args(options).arg(point).output();
    output.is_ok_and(|output| output.status.success())
}

/// Runs a system tool to its end.
fn tool(program: &str, args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(args).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {args:?} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
