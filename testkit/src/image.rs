//! Images made in tests: layers from files, a configuration, pushed to any registry by the distribution protocol.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Hexadecimal SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A layer being filled.
pub struct Layer(tar::Builder<Vec<u8>>);

impl Default for Layer {
    fn default() -> Self {
        Self::new()
    }
}

impl Layer {
    /// Without entries.
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(1_700_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header
    }

    /// Adds a directory.
    pub fn dir(mut self, path: &str, mode: u32) -> anyhow::Result<Self> {
        self.0.append_data(
            &mut Self::header(tar::EntryType::Directory, mode, 0),
            path,
            std::io::empty(),
        )?;
        Ok(self)
    }

    /// Adds a regular file.
    pub fn file(mut self, path: &str, mode: u32, content: &[u8]) -> anyhow::Result<Self> {
        let size = u64::try_from(content.len())?;
        self.0.append_data(
            &mut Self::header(tar::EntryType::Regular, mode, size),
            path,
            content,
        )?;
        Ok(self)
    }

    /// Adds a symbolic link.
    pub fn link(mut self, path: &str, target: &str) -> anyhow::Result<Self> {
        self.0
            .append_link(&mut Self::header(tar::EntryType::Symlink, 0o777, 0), path, target)?;
        Ok(self)
    }

    /// Adds a whole directory of this machine.
    pub fn tree(mut self, from: &Path) -> anyhow::Result<Self> {
        self.0.follow_symlinks(false);
        self.0.append_dir_all(".", from)?;
        Ok(self)
    }

    fn finish(self) -> anyhow::Result<Vec<u8>> {
        Ok(self.0.into_inner()?)
    }
}

/// An image ready to be pushed.
pub struct Image {
    layers: Vec<(Vec<u8>, String)>,
    uncompressed: usize,
    /// `config` of the image's configuration: `Cmd`, `Env`, `ExposedPorts`, `User`, `WorkingDir`…
    pub config: Value,
    /// Architecture the image says to be for.
    pub architecture: String,
}

impl Image {
    /// An image without layers for this machine.
    pub fn new(config: Value) -> Self {
        let architecture = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        };
        Self {
            layers: Vec::new(),
            uncompressed: 0,
            config,
            architecture: architecture.to_owned(),
        }
    }

    /// One program at `/app` that listens on `port`.
    pub fn of_program(binary: &Path, port: u16) -> anyhow::Result<Self> {
        let program = std::fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
        let layer = Layer::new().dir("tmp", 0o1777)?.file("app", 0o755, &program)?;
        Self::new(json!({"Cmd": ["/app"], "ExposedPorts": {format!("{port}/tcp"): {}}})).layer(layer)
    }

    /// busybox with a shell and the usual commands.
    pub fn of_busybox(config: Value) -> anyhow::Result<Self> {
        let mut layer = Layer::new()
            .dir("bin", 0o755)?
            .dir("etc", 0o755)?
            .dir("tmp", 0o1777)?;
        layer = layer.file("bin/busybox", 0o755, &std::fs::read("/bin/busybox")?)?;
        for name in [
            "sh", "cat", "echo", "env", "id", "sleep", "httpd", "nc", "ps", "kill", "true", "false", "mkdir",
            "ls",
        ] {
            layer = layer.link(&format!("bin/{name}"), "busybox")?;
        }
        let passwd = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n";
        layer =
            layer
                .file("etc/passwd", 0o644, passwd)?
                .file("etc/group", 0o644, b"root:x:0:\napp:x:1000:\n")?;
        Self::new(config).layer(layer)
    }

    /// Puts a layer on top.
    pub fn layer(mut self, layer: Layer) -> anyhow::Result<Self> {
        let tar = layer.finish()?;
        self.uncompressed += tar.len();
        let diff_id = format!("sha256:{}", sha256(&tar));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&tar)?;
        self.layers.push((gzip.finish()?, diff_id));
        Ok(self)
    }

    /// Size of all layers together, unpacked.
    pub fn uncompressed_bytes(&self) -> usize {
        self.uncompressed
    }

    /// Pushes to `http://HOST/REPOSITORY:TAG` and gives the manifest's digest.
    ///
    /// # Errors
    /// When the registry refuses.
    pub async fn push(&self, to: &Destination<'_>) -> anyhow::Result<String> {
        let config = serde_json::to_vec(&json!({
            "architecture": self.architecture, "os": "linux", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": self.layers.iter().map(|(_, id)| id).collect::<Vec<_>>()},
        }))?;
        let mut layers = Vec::new();
        for (blob, _) in &self.layers {
            let digest = to.blob(blob.clone()).await?;
            layers.push(json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": blob.len(),
            }));
        }
        let size = config.len();
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json", "digest": to.blob(config).await?, "size": size,
            },
            "layers": layers,
        }))?;
        let digest = format!("sha256:{}", sha256(&manifest));
        to.manifest(manifest).await?;
        Ok(digest)
    }
}

/// Where an image is pushed to.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// `HOST:PORT`, spoken to over plain HTTP.
    pub registry: &'a str,
    /// Repository.
    pub repository: &'a str,
    /// Tag.
    pub tag: &'a str,
    /// User name and password, if the registry wants them.
    pub login: Option<(&'a str, &'a str)>,
}

impl Destination<'_> {
    fn request(&self, method: reqwest::Method, url: &str) -> reqwest::RequestBuilder {
        crate::tls();
        let request = reqwest::Client::new().request(method, url);
        match self.login {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request,
        }
    }

    async fn blob(&self, bytes: Vec<u8>) -> anyhow::Result<String> {
        let digest = format!("sha256:{}", sha256(&bytes));
        let base = format!("http://{}/v2/{}", self.registry, self.repository);
        let begun = self
            .request(reqwest::Method::POST, &format!("{base}/blobs/uploads/"))
            .send()
            .await?;
        ensure!(
            begun.status() == 202,
            "upload refused: {} {}",
            begun.status(),
            begun.text().await?
        );
        let location = begun
            .headers()
            .get("location")
            .context("no upload location")?
            .to_str()?
            .to_owned();
        let location = if location.starts_with('/') {
            format!("http://{}{location}", self.registry)
        } else {
            location
        };
        let joint = if location.contains('?') { '&' } else { '?' };
        let done = self
            .request(reqwest::Method::PUT, &format!("{location}{joint}digest={digest}"))
            .header("content-type", "application/octet-stream")
            .body(bytes)
            .send()
            .await?;
        ensure!(
            done.status() == 201,
            "blob refused: {} {}",
            done.status(),
            done.text().await?
        );
        Ok(digest)
    }

    async fn manifest(&self, bytes: Vec<u8>) -> anyhow::Result<()> {
        let url = format!(
            "http://{}/v2/{}/manifests/{}",
            self.registry, self.repository, self.tag
        );
        let done = self
            .request(reqwest::Method::PUT, &url)
            .header("content-type", "application/vnd.oci.image.manifest.v1+json")
            .body(bytes)
            .send()
            .await?;
        ensure!(
            done.status() == 201,
            "manifest refused: {} {}",
            done.status(),
            done.text().await?
        );
        Ok(())
    }
}
