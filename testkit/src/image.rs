//! Images made in tests that can be run: layers from files, a configuration.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::pusher::Pusher;

/// Hexadecimal SHA-256.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// What a registry calls a blob with these bytes: `sha256:…`.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha256(bytes))
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

    /// Busybox with a shell and the usual commands, and a user `app`.
    pub fn of_busybox() -> anyhow::Result<Self> {
        let mut layer = Self::new()
            .dir("bin", 0o755)?
            .dir("etc", 0o755)?
            .dir("tmp", 0o1777)?
            .file("bin/busybox", 0o755, &std::fs::read("/bin/busybox")?)?;
        for name in [
            "sh", "cat", "dd", "echo", "env", "false", "head", "hostname", "httpd", "id", "kill", "ls",
            "mkdir", "nc", "ps", "seq", "sleep", "true",
        ] {
            layer = layer.link(&format!("bin/{name}"), "busybox")?;
        }
        let passwd = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n";
        layer
            .file("etc/passwd", 0o644, passwd)?
            .file("etc/group", 0o644, b"root:x:0:\napp:x:1000:\n")
    }

    /// Packs what was filled in.
    pub fn pack(self) -> anyhow::Result<Packed> {
        let tar = self.0.into_inner()?;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&tar)?;
        Ok(Packed {
            blob: gzip.finish()?,
            diff_id: digest(&tar),
            unpacked: tar.len(),
        })
    }
}

/// A layer as a registry stores it.
pub struct Packed {
    /// The gzipped archive.
    pub blob: Vec<u8>,
    /// Digest of the archive before it was gzipped.
    pub diff_id: String,
    /// Bytes of the archive before it was gzipped.
    pub unpacked: usize,
}

/// An image ready to be pushed.
pub struct Image {
    blobs: Vec<Vec<u8>>,
    diff_ids: Vec<String>,
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
            blobs: Vec::new(),
            diff_ids: Vec::new(),
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

    /// Busybox with a shell and the usual commands.
    pub fn of_busybox(config: Value) -> anyhow::Result<Self> {
        Self::new(config).layer(Layer::of_busybox()?)
    }

    /// Puts a layer on top.
    pub fn layer(mut self, layer: Layer) -> anyhow::Result<Self> {
        let packed = layer.pack()?;
        self.uncompressed += packed.unpacked;
        self.blobs.push(packed.blob);
        self.diff_ids.push(packed.diff_id);
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
        let pusher = Pusher::new(&format!("http://{}", to.registry), to.login)?;
        self.push_by(&pusher, to.repository, to.tag).await
    }

    /// Pushes by a pusher that knows the way, and gives the manifest's digest.
    ///
    /// # Errors
    /// When the registry refuses.
    pub async fn push_by(&self, pusher: &Pusher, repository: &str, tag: &str) -> anyhow::Result<String> {
        let config = json!({
            "architecture": self.architecture, "os": "linux", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
        });
        let pushed = pusher.image(repository, Some(tag), &config, &self.blobs);
        Ok(pushed.await?.digest)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Destination, Image};
    use crate::docker_registry::{DockerRegistry, Guard};

    #[tokio::test]
    async fn an_image_is_pushed_by_those_who_may() -> anyhow::Result<()> {
        let registry = DockerRegistry::start(&Guard::password("bob", "secret")).await?;
        let image = Image::of_busybox(json!({"Cmd": ["/bin/sh"]}))?;
        let host = registry.host();
        let to = |login| Destination {
            registry: &host,
            repository: "team/app",
            tag: "1",
            login,
        };
        let refusal = image.push(&to(None)).await.map_err(|error| error.to_string());
        anyhow::ensure!(
            matches!(&refusal, Err(text) if text.starts_with("upload refused: 401")),
            "{refusal:?}"
        );
        let digest = image.push(&to(Some(("bob", "secret")))).await?;
        let manifest = format!("http://{host}/v2/team/app/manifests/{digest}");
        let kept = reqwest::Client::builder().no_proxy().build()?.get(manifest);
        let kept = kept
            .basic_auth("bob", Some("secret"))
            .header("accept", crate::pusher::OCI.manifest)
            .send()
            .await?;
        anyhow::ensure!(kept.status() == 200, "{kept:?}");
        anyhow::ensure!(crate::image::digest(&kept.bytes().await?) == digest);
        Ok(())
    }
}
