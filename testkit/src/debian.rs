//! A real, large root filesystem: Debian with Python, made by debootstrap once and kept beside the build.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// The directory with the root filesystem; the first call takes a minute or two and needs Debian's packages.
///
/// # Errors
/// When debootstrap is missing or fails; its log is in the error.
pub fn rootfs() -> anyhow::Result<PathBuf> {
    let base = crate::target_dir().join("..").join("debian-python");
    let done = base.join("root");
    if done.exists() {
        return Ok(done);
    }
    let draft = base.join(format!("new-{}", std::process::id()));
    std::fs::create_dir_all(&draft)?;
    let output = Command::new("debootstrap")
        .args(["--variant=minbase", "--include=python3,git,locales", "bookworm"])
        .arg(&draft)
        .stdin(Stdio::null())
        .output()
        .context("cannot run debootstrap")?;
    let tail = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes)
            .lines()
            .rev()
            .take(20)
            .collect::<Vec<_>>()
            .join("\n")
    };
    ensure!(
        output.status.success(),
        "debootstrap failed:\n{}",
        tail(&output.stdout)
    );
    // What packages leave for their own upkeep is of no use in an image, and device nodes cannot be copied.
    for part in ["var/cache/apt", "var/lib/apt/lists", "dev", "proc", "sys"] {
        std::fs::remove_dir_all(draft.join(part)).ok();
        std::fs::create_dir_all(draft.join(part))?;
    }
    std::fs::rename(&draft, &done).or_else(|error| if done.exists() { Ok(()) } else { Err(error) })?;
    Ok(done)
}
