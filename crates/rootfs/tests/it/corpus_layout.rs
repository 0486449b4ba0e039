//! An image as a directory (OCI image-layout), for tools that read one, and what umoci makes of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tars::{digest, gzip};

/// Writes an image of these tars.
pub fn write(dir: &Path, tars: &[Vec<u8>]) {
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let kind = |name: &str| format!("application/vnd.oci.image.{name}");
    let layers: Vec<_> = tars
        .iter()
        .map(|tar| blob(dir, &kind("layer.v1.tar+gzip"), &gzip(tar)))
        .collect();
    let diff_ids: Vec<_> = tars.iter().map(|tar| format!("\"{}\"", digest(tar))).collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    );
    let config = blob(dir, &kind("config.v1+json"), config.as_bytes());
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#,
        layers.join(",")
    );
    let manifest = blob(dir, &kind("manifest.v1+json"), manifest.as_bytes());
    let named = manifest.replacen(
        '{',
        r#"{"annotations":{"org.opencontainers.image.ref.name":"t"},"#,
        1,
    );
    fs::write(
        dir.join("index.json"),
        format!(r#"{{"schemaVersion":2,"manifests":[{named}]}}"#),
    )
    .unwrap();
}

fn blob(dir: &Path, media_type: &str, bytes: &[u8]) -> String {
    let digest = digest(bytes);
    fs::write(dir.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
    format!(
        r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{}}}"#,
        bytes.len()
    )
}

/// Lets umoci unpack an image of these tars; its words when it refuses.
pub fn umoci(dir: &Path, tars: &[Vec<u8>]) -> Result<PathBuf, String> {
    let (layout, rootfs) = (dir.join("layout"), dir.join("umoci"));
    write(&layout, tars);
    let output = Command::new("umoci")
        .args(["raw", "unpack", "--image"])
        .arg(format!("{}:t", layout.display()))
        .arg(&rootfs)
        .output()
        .unwrap();
    if output.status.success() {
        Ok(rootfs)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Lets GNU tar unpack an archive.
pub fn gnu_tar(dir: &Path, tar: &[u8]) -> PathBuf {
    let rootfs = dir.join("gnu");
    fs::create_dir(&rootfs).unwrap();
    fs::write(dir.join("archive"), tar).unwrap();
    let mut command = Command::new("tar");
    command.args(["-xp", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-f"]);
    let status = command
        .arg(dir.join("archive"))
        .arg("-C")
        .arg(&rootfs)
        .status()
        .unwrap();
    assert!(status.success());
    rootfs
}
