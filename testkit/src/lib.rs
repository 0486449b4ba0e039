//! What tests and the demo need of the world: images, registries, a platform in a process of its own, clients, and a
//! look for what was left behind.
//!
//! Knows the platform only from outside: its binary, its HTTP addresses and the kernel objects it names. Depends on no
//! crate of the platform, so that tests on every floor may use it.

pub mod apps;
pub mod cf;
pub mod debian;
pub mod docker_registry;
pub mod image;
pub mod leaks;
pub mod made_up;
pub mod pki;
pub mod platform;
pub mod ports;
pub mod pusher;
pub mod wait;

use std::path::{Path, PathBuf};

/// Installs the TLS provider that HTTP clients of this process use. May be called often.
pub fn tls() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// The directory that holds built programs: where the running test or tool itself lies, without `deps`.
pub fn target_dir() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    let dir = exe.parent().unwrap_or(Path::new("."));
    if dir.ends_with("deps") {
        dir.parent().unwrap_or(dir).to_owned()
    } else {
        dir.to_owned()
    }
}
