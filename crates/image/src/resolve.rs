//! A reference to everything known before a layer is fetched.
//!
//! Order: manifest by tag or digest → (index: entry for the platform → its manifest) → configuration → checks. Every
//! document is checked against the digest it was asked by; the first is also checked against the registry's header.

use std::collections::BTreeMap;

use model::{Digest, ImageConfig, Layer, Platform};
use sha2::{Digest as _, Sha256};

use crate::client::Client;
use crate::config::{self, Configuration};
use crate::credentials::Credentials;
use crate::error::{ResolveError, one_line};
use crate::manifest::{self, Blob, Fault, Image, Manifest};
use crate::platform;
use crate::reference::Reference;
use crate::session::{Answer, Call, Session};

/// Largest manifest or index (the limit registries themselves set).
const MAX_MANIFEST: usize = 4 << 20;
/// Largest image configuration.
const MAX_CONFIG: usize = 4 << 20;
/// How deep indexes may be nested.
const MAX_INDEXES: usize = 3;

/// An image, pinned by digest and described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Digest of the (outermost) index, when the reference led to one.
    pub index_digest: Option<Digest>,
    /// Digest of the manifest of the chosen platform: what runs.
    pub manifest_digest: Digest,
    /// The image's platform.
    pub platform: Platform,
    /// Bottom first.
    pub layers: Vec<Layer>,
    /// How to run it. It may name no command at all; whether that matters is the caller's to decide.
    pub config: ImageConfig,
    /// Labels of the configuration.
    pub labels: BTreeMap<String, String>,
    /// When it was built, as the image says (RFC 3339 if it is honest).
    pub created: Option<String>,
}

impl Resolved {
    /// Sum of the layers as the registry serves them, in bytes.
    pub fn compressed_size(&self) -> u64 {
        self.layers
            .iter()
            .fold(0, |sum, layer| sum.saturating_add(layer.size))
    }
}

impl Client {
    /// Finds the image of a reference for a platform and checks all that can be checked without its layers.
    pub async fn resolve(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
        wanted: &Platform,
    ) -> Result<Resolved, ResolveError> {
        let image = reference.canonical();
        let resolution = Resolution {
            session: self.session(),
            reference,
            credentials,
            wanted,
            image,
        };
        resolution.run().await
    }
}

/// One resolution, step by step.
pub(crate) struct Resolution<'a> {
    pub(crate) session: Session,
    pub(crate) reference: &'a Reference,
    pub(crate) credentials: Option<&'a Credentials>,
    pub(crate) wanted: &'a Platform,
    /// For messages.
    pub(crate) image: String,
}

/// The document a reference led to.
pub(crate) struct First {
    pub(crate) digest: Digest,
    pub(crate) manifest: Manifest,
    /// How it came.
    pub(crate) answer: Answer,
}

/// The image of the wanted platform.
pub(crate) struct Chosen {
    index_digest: Option<Digest>,
    manifest_digest: Digest,
    image: Image,
    /// The platform its index gave it.
    platform: Option<Platform>,
}

impl Resolution<'_> {
    async fn run(&self) -> Result<Resolved, ResolveError> {
        let First { digest, manifest, .. } = self.first_manifest().await?;
        let chosen = self.choose(digest, manifest).await?;
        self.describe(chosen).await
    }

    /// Down the indexes to an image.
    pub(crate) async fn choose(
        &self,
        mut digest: Digest,
        mut manifest: Manifest,
    ) -> Result<Chosen, ResolveError> {
        let mut index_digest = None;
        let mut platform = None;
        for _ in 0..=MAX_INDEXES {
            let entries = match manifest {
                Manifest::Image(image) => {
                    return Ok(Chosen {
                        index_digest,
                        manifest_digest: digest,
                        image,
                        platform,
                    });
                }
                Manifest::Index(entries) => entries,
            };
            index_digest.get_or_insert(digest);
            let entry = manifest::select(&entries, self.wanted)
                .map_err(|available| self.wrong_platform(available))?;
            let blob = entry.blob().map_err(|fault| self.fault(fault))?;
            platform = entry.platform().or(platform);
            manifest = self.child_manifest(&blob).await?;
            digest = blob.digest;
        }
        Err(self.fault(Fault::Unsupported(format!(
            "its indexes are nested more than {MAX_INDEXES} deep"
        ))))
    }

    pub(crate) async fn first_manifest(&self) -> Result<First, ResolveError> {
        let path = format!("manifests/{}", self.reference.selector());
        let digest = self.reference.digest();
        let document = self
            .document((path, digest), manifest::ACCEPT, MAX_MANIFEST)
            .await?;
        // Schema 1 has a digest over a part of its bytes, so it is refused before any comparison.
        let manifest = self.parse(&document)?;
        let digest = digest_of(&document.bytes);
        let announced = document.header("docker-content-digest").parse::<Digest>().ok();
        if let Some(asked) = self.reference.digest().filter(|asked| **asked != digest) {
            return Err(self.mismatch("manifest", asked, &digest));
        }
        if let Some(announced) = announced.filter(|announced| *announced != digest) {
            return Err(self.mismatch("manifest", &announced, &digest));
        }
        Ok(First {
            digest,
            manifest,
            answer: document,
        })
    }

    async fn child_manifest(&self, blob: &Blob) -> Result<Manifest, ResolveError> {
        let document = self
            .document(
                (format!("manifests/{}", blob.digest), Some(&blob.digest)),
                manifest::ACCEPT,
                MAX_MANIFEST,
            )
            .await?;
        self.check("manifest", blob, &document.bytes)?;
        self.parse(&document)
    }

    /// The last step: an image manifest to what it says.
    pub(crate) async fn describe(&self, chosen: Chosen) -> Result<Resolved, ResolveError> {
        let Chosen {
            index_digest,
            manifest_digest,
            image,
            platform: chosen,
        } = chosen;
        let blob = &image.config;
        if usize::try_from(blob.size).map_or(true, |size| size > MAX_CONFIG) {
            let what = format!("its configuration is larger than {MAX_CONFIG} bytes");
            return Err(self.fault(Fault::Malformed(what)));
        }
        let document = self
            .document(
                (format!("blobs/{}", blob.digest), Some(&blob.digest)),
                "*/*",
                MAX_CONFIG,
            )
            .await?;
        self.check("configuration", blob, &document.bytes)?;
        let configuration =
            config::parse(&document.bytes).map_err(|what| self.fault(Fault::Malformed(what)))?;
        let platform = self.platform(&configuration, chosen)?;
        let Configuration {
            diff_ids,
            run,
            labels,
            created,
            ..
        } = configuration;
        let layers = image.layers(diff_ids).map_err(|fault| self.fault(fault))?;
        Ok(Resolved {
            index_digest,
            manifest_digest,
            platform,
            layers,
            config: run,
            labels,
            created,
        })
    }

    /// The configuration's word outranks the index's. What both leave open is taken to fit: only its start will tell.
    fn platform(
        &self,
        configuration: &Configuration,
        chosen: Option<Platform>,
    ) -> Result<Platform, ResolveError> {
        let mut platform = chosen.unwrap_or_else(|| self.wanted.clone());
        let stated = &configuration.platform;
        if !stated.architecture.is_empty() && stated.architecture != platform.architecture {
            // The variant belongs to the architecture it was said of.
            platform.variant.clear();
        }
        for (said, kept) in [
            (&stated.os, &mut platform.os),
            (&stated.architecture, &mut platform.architecture),
            (&stated.variant, &mut platform.variant),
        ] {
            if !said.is_empty() {
                kept.clone_from(said);
            }
        }
        match platform::fit(self.wanted, &platform) {
            Some(_) => Ok(platform),
            None => Err(self.wrong_platform(vec![platform])),
        }
    }

    async fn document(
        &self,
        (path, digest): (String, Option<&Digest>),
        accept: &'static str,
        cap: usize,
    ) -> Result<Answer, ResolveError> {
        let call = Call {
            reference: self.reference.clone(),
            credentials: self.credentials.cloned(),
            path,
            what: self.image.clone(),
            accept,
            digest: digest.cloned(),
        };
        self.session.document(&call, cap).await
    }

    fn parse(&self, document: &Answer) -> Result<Manifest, ResolveError> {
        manifest::parse(&document.bytes, document.content_type()).map_err(|fault| self.fault(fault))
    }

    fn check(&self, name: &str, blob: &Blob, bytes: &[u8]) -> Result<(), ResolveError> {
        let digest = digest_of(bytes);
        if digest != blob.digest {
            return Err(self.mismatch(name, &blob.digest, &digest));
        }
        if bytes.len() as u64 != blob.size {
            let what = format!("its {name} has {} bytes instead of {}", bytes.len(), blob.size);
            return Err(self.fault(Fault::Malformed(what)));
        }
        Ok(())
    }

    fn mismatch(&self, name: &str, wanted: &Digest, got: &Digest) -> ResolveError {
        self.fault(Fault::Malformed(format!(
            "its {name} has the digest {got} instead of {wanted}"
        )))
    }

    fn wrong_platform(&self, available: Vec<Platform>) -> ResolveError {
        ResolveError::WrongPlatform {
            image: self.image.clone(),
            wanted: self.wanted.clone(),
            available,
        }
    }

    fn fault(&self, fault: Fault) -> ResolveError {
        let image = self.image.clone();
        match fault {
            Fault::Schema1 => ResolveError::Schema1 { image },
            Fault::Malformed(what) => ResolveError::Malformed {
                image,
                what: one_line(&what),
            },
            Fault::Unsupported(what) => ResolveError::Unsupported {
                image,
                what: one_line(&what),
            },
        }
    }
}

pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_sha256(&Sha256::digest(bytes).into())
}
