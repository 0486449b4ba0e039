//! What an image is once its reference has been resolved: layers to fetch, and how to run it.

use crate::Digest;

/// How a layer's bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// A plain tar.
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
}

/// One layer of an image: a tar of changes over the layers below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layer {
    /// Digest of the blob as the registry serves it.
    pub digest: Digest,
    /// Digest of the uncompressed tar; the layer's identity on disk.
    pub diff_id: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// How the blob is packed.
    pub compression: Compression,
}

/// Transport of an exposed port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP; sorts before UDP, as the reference orders ports.
    Tcp,
    /// UDP.
    Udp,
}

/// A port the image declares with `EXPOSE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    /// Port number, never 0.
    pub number: u16,
    /// Transport.
    pub protocol: Protocol,
}

/// Whether a user as images and processes name it (`name`, `uid`, `name:group`, `uid:gid`; empty) is root by its
/// spelling. A name that the image's own passwd file gives the id 0 is not seen here.
pub fn is_root_user(user: &str) -> bool {
    let name = user.split(':').next().unwrap_or_default().trim();
    name.is_empty() || name == "root" || name.parse::<u64>() == Ok(0)
}

/// The part of an image's configuration that says how to run it (OCI image-spec, config.md).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// First words of the command line.
    pub entrypoint: Vec<String>,
    /// Words that follow the entrypoint.
    pub cmd: Vec<String>,
    /// `NAME=value` pairs, in order.
    pub env: Vec<String>,
    /// Working directory; empty means `/`.
    pub workdir: String,
    /// `name`, `uid`, `name:group`, `uid:gid`; empty means root.
    pub user: String,
    /// Exposed ports, sorted by number then transport.
    pub ports: Vec<Port>,
    /// Signal that asks the process to stop, for example `SIGQUIT`; empty means SIGTERM.
    pub stop_signal: String,
}

impl ImageConfig {
    /// The argument vector when the user overrides nothing: entrypoint, then cmd. Empty when the image names neither.
    pub fn argv(&self) -> Vec<String> {
        self.entrypoint.iter().chain(&self.cmd).cloned().collect()
    }

    /// TCP ports in ascending order; the first is the one routes go to by default.
    pub fn tcp_ports(&self) -> Vec<u16> {
        self.ports
            .iter()
            .filter(|p| p.protocol == Protocol::Tcp)
            .map(|p| p.number)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_many_spellings() {
        for root in ["", "root", "0", "0:0", "root:root", "00", ":5", "0:app"] {
            assert!(is_root_user(root), "{root:?}");
        }
        for other in ["app", "1000", "1000:0", "rooted", "root2:root", "10"] {
            assert!(!is_root_user(other), "{other:?}");
        }
    }
}
