//! Manifests and tags: what is accepted, and how they lie on disk.
//!
//! Rules: OCI image-spec manifest.md and image-index.md; Docker image manifest version 2, schema 2 and its list. A
//! manifest is refused unless all it refers to is in its repository, with the size it says, so that whatever can be
//! pulled is whole.

use std::fs;

use model::Digest;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::disk::{Doing, Storage, StorageError};
use crate::failure::Failure;
use crate::name::{Reference, Repository, Tag};

/// Largest manifest in bytes; the least a registry must take by distribution-spec.
pub(crate) const LARGEST: usize = 4 << 20;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A manifest as it was pushed.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) content: Vec<u8>,
}

/// A manifest that was understood.
#[derive(Debug, PartialEq, Eq)]
struct Checked {
    media_type: &'static str,
    kind: Kind,
    /// What must be in the repository, with sizes: blobs of an image, manifests of an index.
    needs: Vec<(Digest, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Image,
    Index,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    size: u64,
    /// Where else the content is to be had; then it need not be here.
    urls: Option<Vec<String>>,
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::ManifestInvalid(message.into())
}

/// Reads a manifest that was sent as `content_type`.
fn check(content_type: Option<&str>, content: &[u8]) -> Result<Checked, Failure> {
    let document: Document =
        serde_json::from_slice(content).map_err(|error| invalid(format!("not a manifest: {error}")))?;
    if document.schema_version != 2 {
        return Err(invalid(format!(
            "schemaVersion is {}; only 2 is accepted",
            document.schema_version
        )));
    }
    let media_type = media_type(content_type, &document)?;
    let kind = if matches!(media_type, OCI_INDEX | DOCKER_LIST) {
        Kind::Index
    } else {
        Kind::Image
    };
    let needs: Vec<_> = match (kind, document.config, document.layers, document.manifests) {
        (Kind::Image, Some(config), Some(layers), None) => {
            let here = layers
                .into_iter()
                .filter(|layer| layer.urls.as_ref().is_none_or(Vec::is_empty));
            std::iter::once(config).chain(here).collect()
        }
        (Kind::Index, None, None, Some(manifests)) => manifests,
        // A document that could be read as either must not be: two clients would run different images.
        (Kind::Image, ..) => {
            return Err(invalid(
                "an image manifest has config and layers, and no manifests",
            ));
        }
        (Kind::Index, ..) => return Err(invalid("an index has manifests, and neither config nor layers")),
    };
    Ok(Checked {
        media_type,
        kind,
        needs: needs.into_iter().map(need).collect::<Result<_, _>>()?,
    })
}

fn need(descriptor: Descriptor) -> Result<(Digest, u64), Failure> {
    let digest = descriptor
        .digest
        .parse()
        .map_err(|error: model::DigestError| invalid(error.to_string()))?;
    Ok((digest, descriptor.size))
}

/// What the header says, else what the document says, else what it looks like; header and document must agree.
fn media_type(content_type: Option<&str>, document: &Document) -> Result<&'static str, Failure> {
    let known = |text: &str| {
        let found = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST]
            .into_iter()
            .find(|known| *known == text);
        found.ok_or_else(|| {
            let text: String = text.chars().take(100).collect();
            invalid(format!(
                "{text:?} is not a type of manifest accepted here; push OCI or Docker version 2 images"
            ))
        })
    };
    let header = content_type
        .and_then(|value| value.split(';').next())
        .map(str::trim)
        .map(known)
        .transpose()?;
    let inside = document.media_type.as_deref().map(known).transpose()?;
    match (header, inside) {
        (Some(header), Some(inside)) if header != inside => Err(invalid(format!(
            "Content-Type is {header}, but the manifest says {inside}"
        ))),
        (Some(named), _) | (None, Some(named)) => Ok(named),
        (None, None) if document.manifests.is_some() => Ok(OCI_INDEX),
        (None, None) => Ok(OCI_MANIFEST),
    }
}

impl Storage {
    /// Whether anything was ever pushed to `repository`.
    pub(crate) fn has_repository(&self, repository: &Repository) -> bool {
        self.repository_dir(repository).is_dir()
    }

    /// Checks and stores a manifest under its digest, and under its tag when it has one. Returns the digest.
    pub(crate) fn put_manifest(
        &self,
        (repository, reference): (&Repository, &Reference),
        content_type: Option<&str>,
        content: &[u8],
    ) -> Result<Digest, Failure> {
        let digest = Digest::from_sha256(&Sha256::digest(content).into());
        if let Reference::Digest(wanted) = reference
            && *wanted != digest
        {
            return Err(Failure::DigestMismatch {
                wanted: wanted.clone(),
                actual: digest,
            });
        }
        let checked = check(content_type, content)?;
        self.check_needs(repository, &checked)?;
        self.make_repository(repository)?;
        let path = self.manifest_path(repository, &digest);
        self.write(&path.with_extension("type"), checked.media_type.as_bytes())?;
        self.write(&path, content)?;
        if let Reference::Tag(tag) = reference {
            self.write(&self.tag_path(repository, tag), digest.as_str().as_bytes())?;
        }
        Ok(digest)
    }

    fn check_needs(&self, repository: &Repository, checked: &Checked) -> Result<(), Failure> {
        for (digest, said) in &checked.needs {
            let found = match checked.kind {
                Kind::Image => self.blob_size(repository, digest)?,
                Kind::Index => {
                    let path = self.manifest_path(repository, digest);
                    fs::metadata(&path)
                        .if_exists("look at", &path)?
                        .map(|found| found.len())
                }
            };
            match found {
                None => return Err(Failure::ManifestBlobUnknown(digest.clone())),
                Some(size) if size != *said => {
                    return Err(invalid(format!(
                        "{digest} has {size} bytes, not {said} as the manifest says"
                    )));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Finds a manifest by tag or digest.
    pub(crate) fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<Manifest>, StorageError> {
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(tag) => {
                let path = self.tag_path(repository, tag);
                let text = fs::read_to_string(&path).if_exists("read", &path)?;
                let Some(digest) = text.and_then(|text| text.trim().parse().ok()) else {
                    return Ok(None);
                };
                digest
            }
        };
        let path = self.manifest_path(repository, &digest);
        let Some(content) = fs::read(&path).if_exists("read", &path)? else {
            return Ok(None);
        };
        let kind = path.with_extension("type");
        let media_type = fs::read_to_string(&kind).doing("read", &kind)?;
        Ok(Some(Manifest {
            digest,
            media_type,
            content,
        }))
    }

    /// All tags, in the spec's order: letters regardless of case. `None` for an unknown repository.
    pub(crate) fn tags(&self, repository: &Repository) -> Result<Option<Vec<String>>, StorageError> {
        let dir = self.repository_dir(repository).join("tags");
        let Some(entries) = fs::read_dir(&dir).if_exists("list", &dir)? else {
            return Ok(None);
        };
        let mut tags = Vec::new();
        for entry in entries {
            let name = entry.doing("list", &dir)?.file_name();
            tags.extend(
                name.to_str()
                    .filter(|name| name.parse::<Tag>().is_ok())
                    .map(str::to_owned),
            );
        }
        tags.sort_by_cached_key(|tag| tag_order(tag));
        Ok(Some(tags))
    }
}

/// Key by which tags are sorted.
pub(crate) fn tag_order(tag: &str) -> (String, String) {
    (tag.to_ascii_lowercase(), tag.to_owned())
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
