//! Manifests and indexes: bytes of a stranger to descriptors, and the choice of a platform.
//!
//! Rules: OCI image-spec manifest.md, image-index.md; Docker manifest v2 schema 2. A document that could be read as
//! both a manifest and an index is refused, since two readers could then run two different images for one digest.

use model::{Compression, Digest, Layer, Platform};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::capped::{Attested, List};
use crate::error::one_line;
use crate::platform;

/// What this client can read, and schema 1 so that it can be refused by name.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.v1+prettyjws;q=0.1, \
     application/vnd.docker.distribution.manifest.v1+json;q=0.1";

const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const IMAGES: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+";
/// Configurations of container images; the last is what some old tools pushed.
const CONFIGS: [&str; 4] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
    "application/octet-stream",
    "",
];
/// More layers than any overlay can stack.
const MAX_LAYERS: usize = 512;
/// More platforms than there are; attestations count too.
const MAX_ENTRIES: usize = 1024;
/// No registry stores larger blobs; a larger figure is not believed (1 TiB).
const MAX_LAYER_SIZE: u64 = 1 << 40;

/// Why a document is not an image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Schema1,
    Malformed(String),
    Unsupported(String),
}

/// A document of either kind.
#[derive(Debug)]
pub(crate) enum Manifest {
    Index(Vec<Entry>),
    Image(Image),
}

/// An image manifest. Layers bottom first.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) config: Blob,
    layers: Vec<(Blob, Compression)>,
}

/// A digest with its size in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u64>,
    media_type: Option<String>,
    manifests: Option<List<Entry, MAX_ENTRIES>>,
    config: Option<Descriptor>,
    layers: Option<List<Descriptor, MAX_LAYERS>>,
    fs_layers: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
}

/// One image of an index.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<EntryPlatform>,
    annotations: Option<Attested>,
}

#[derive(Debug, Deserialize)]
struct EntryPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

/// Reads a document. `content_type` is the registry's word for it, which many get wrong and none may contradict.
pub(crate) fn parse(bytes: &[u8], content_type: &str) -> Result<Manifest, Fault> {
    let content_type = content_type.split(';').next().unwrap_or_default().trim();
    let document: Document = serde_json::from_slice(bytes).map_err(|error| {
        Fault::Malformed(format!(
            "its manifest, served as {:?}, cannot be read ({error})",
            one_line(content_type)
        ))
    })?;
    let kind = document
        .media_type
        .as_deref()
        .filter(|t| !t.is_empty())
        .unwrap_or(content_type);
    if kind.starts_with(SCHEMA1) || document.schema_version == Some(1) || document.fs_layers.is_some() {
        return Err(Fault::Schema1);
    }
    if document.schema_version.is_some_and(|version| version != 2) {
        return Err(Fault::Unsupported(
            "its manifest is of an unknown schema version".to_owned(),
        ));
    }
    let called = |names: &[&str]| names.contains(&kind) || names.contains(&content_type);
    match (document.manifests, document.config, document.layers) {
        (Some(_), None, None) if called(&IMAGES) => Err(contradiction()),
        (Some(entries), None, None) => entries
            .all("images in its index")
            .map(Manifest::Index)
            .map_err(Fault::Unsupported),
        (None, Some(_), Some(_)) if called(&INDEXES) => Err(contradiction()),
        (None, Some(config), Some(layers)) => {
            image(config, layers.all("layers").map_err(Fault::Unsupported)?).map(Manifest::Image)
        }
        (None, None, None) => Err(Fault::Unsupported(format!(
            "{:?} is not an image manifest",
            one_line(kind)
        ))),
        (None, _, _) => Err(Fault::Malformed("its manifest lacks config or layers".to_owned())),
        (Some(_), _, _) => Err(contradiction()),
    }
}

fn contradiction() -> Fault {
    Fault::Malformed("its manifest claims to be both an image and an index".to_owned())
}

fn image(config: Descriptor, layers: Vec<Descriptor>) -> Result<Image, Fault> {
    if !CONFIGS.contains(&config.media_type.as_str()) {
        return Err(Fault::Unsupported(format!(
            "it holds {:?}, not a container image",
            one_line(&config.media_type)
        )));
    }
    let layers = layers
        .into_iter()
        .map(|layer| Ok((layer_blob(&layer)?, compression(&layer.media_type)?)))
        .collect::<Result<_, Fault>>()?;
    Ok(Image {
        config: blob(&config.digest, config.size)?,
        layers,
    })
}

fn blob(digest: &str, size: u64) -> Result<Blob, Fault> {
    let digest = digest
        .parse()
        .map_err(|error: model::DigestError| Fault::Malformed(one_line(&error.to_string())))?;
    Ok(Blob { digest, size })
}

fn layer_blob(layer: &Descriptor) -> Result<Blob, Fault> {
    if layer.size > MAX_LAYER_SIZE {
        let size = layer.size;
        return Err(Fault::Malformed(format!(
            "a layer claims to have {size} bytes, more than {MAX_LAYER_SIZE}"
        )));
    }
    blob(&layer.digest, layer.size)
}

fn compression(media_type: &str) -> Result<Compression, Fault> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
            Ok(Compression::None)
        }
        // Schema 2 once let the type be left out, when gzip was all there was.
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip"
        | "" => Ok(Compression::Gzip),
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Compression::Zstd),
        foreign if foreign.contains(".nondistributable.") || foreign.contains(".foreign.") => Err(
            Fault::Unsupported(format!("a layer is of the foreign type {:?}", one_line(foreign))),
        ),
        other => Err(Fault::Unsupported(format!(
            "a layer is of the unknown type {:?}",
            one_line(other)
        ))),
    }
}

impl Image {
    /// Joins the layers with the digests of their tars, which the configuration lists in the same order.
    pub(crate) fn layers(self, diff_ids: Vec<Digest>) -> Result<Vec<Layer>, Fault> {
        if self.layers.len() != diff_ids.len() {
            let (layers, ids) = (self.layers.len(), diff_ids.len());
            return Err(Fault::Malformed(format!(
                "its manifest has {layers} layers, its configuration {ids}"
            )));
        }
        let pairs = self.layers.into_iter().zip(diff_ids);
        let join = |((blob, compression), diff_id): ((Blob, Compression), Digest)| Layer {
            digest: blob.digest,
            diff_id,
            size: blob.size,
            compression,
        };
        Ok(pairs.map(join).collect())
    }
}

impl Entry {
    /// Attestations ride in indexes as manifests that nobody runs.
    fn is_attestation(&self) -> bool {
        let marked = self.annotations.as_ref().is_some_and(|attested| attested.0);
        marked
            || self
                .platform
                .as_ref()
                .is_some_and(|p| p.os == "unknown" && p.architecture == "unknown")
    }

    pub(crate) fn platform(&self) -> Option<Platform> {
        let platform = self.platform.as_ref()?;
        Some(Platform {
            os: one_line(&platform.os),
            architecture: one_line(&platform.architecture),
            variant: one_line(platform.variant.as_deref().unwrap_or_default()),
        })
    }

    pub(crate) fn blob(&self) -> Result<Blob, Fault> {
        blob(&self.digest, self.size)
    }

    fn is_runnable(&self) -> bool {
        let known = |names: &[&str]| self.media_type.is_empty() || names.contains(&self.media_type.as_str());
        !self.is_attestation() && (known(&IMAGES) || known(&INDEXES))
    }
}

/// The entry that fits best, the first of equals. An entry that names no platform is taken when none fits: its
/// configuration decides. Else the platforms there are.
pub(crate) fn select<'a>(entries: &'a [Entry], wanted: &Platform) -> Result<&'a Entry, Vec<Platform>> {
    let runnable = || entries.iter().filter(|entry| entry.is_runnable());
    let mut best: Option<(u32, &Entry)> = None;
    for entry in runnable() {
        if let Some(fit) = entry
            .platform()
            .and_then(|offered| platform::fit(wanted, &offered))
            && best.is_none_or(|(other, _)| fit > other)
        {
            best = Some((fit, entry));
        }
    }
    if let Some((_, entry)) = best {
        return Ok(entry);
    }
    if let Some(entry) = runnable().find(|entry| entry.platform.is_none()) {
        return Ok(entry);
    }
    Err(platforms(entries))
}

/// The platforms of an index, each once, attestations left out.
pub(crate) fn platforms(entries: &[Entry]) -> Vec<Platform> {
    let mut available: Vec<Platform> = Vec::new();
    for offered in entries
        .iter()
        .filter(|entry| entry.is_runnable())
        .filter_map(Entry::platform)
    {
        if !available.contains(&offered) {
            available.push(offered);
        }
    }
    available
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
