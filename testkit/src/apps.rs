//! Programs that run in test images: each one Rust file on the standard library alone, compiled to one static binary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, ensure};

/// The demo's web page.
pub const HELLO: &str = "hello";
/// An app with an endpoint for everything tests ask of an app.
pub const PROBE: &str = "probe";

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Compiles `testkit/apps/NAME.rs` unless that was done, and gives the binary's path.
///
/// # Errors
/// When the compiler refuses.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let _turn = ONE_AT_A_TIME
        .lock()
        .map_err(|_| anyhow::anyhow!("another compilation panicked"))?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("apps")
        .join(format!("{name}.rs"));
    let dir = crate::target_dir().join("apps");
    std::fs::create_dir_all(&dir)?;
    let text = std::fs::read(&source).with_context(|| format!("no app {name}"))?;
    let target = dir.join(format!("{name}-{}", &crate::image::sha256(&text)[..12]));
    if target.exists() {
        return Ok(target);
    }
    // Other test processes compile too: each to a name of its own, the last one renames last.
    let draft = dir.join(format!("{name}-{}.new", std::process::id()));
    let status = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "-C",
            "opt-level=2",
            "-C",
            "target-feature=+crt-static",
            "-C",
            "strip=symbols",
        ])
        .arg("-o")
        .arg(&draft)
        .arg(&source)
        .status()
        .context("cannot run rustc")?;
    ensure!(status.success(), "rustc could not compile {}", source.display());
    std::fs::rename(&draft, &target)?;
    Ok(target)
}
