//! What the fuzz targets call: a registry's words, without a registry. Built for them and for tests only.

use model::Platform;

use crate::manifest::{self, Manifest};
use crate::{challenge as challenges, config};

/// Media types a registry may call a document by.
const TYPES: [&str; 6] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json; charset=utf-8",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "text/plain",
    "",
];

/// Reads one document as a configuration and as a manifest of every media type, and follows what it says.
///
/// # Panics
/// When a document that was accepted breaks the rules of its kind.
pub fn documents(bytes: &[u8]) {
    let wanted = Platform {
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        variant: String::new(),
    };
    let diff_ids = config::parse(bytes)
        .map(|config| config.diff_ids)
        .unwrap_or_default();
    for content_type in TYPES {
        match manifest::parse(bytes, content_type) {
            Ok(Manifest::Index(entries)) => {
                if let Ok(entry) = manifest::select(&entries, &wanted) {
                    let (_, _) = (entry.platform(), entry.blob());
                }
            }
            Ok(Manifest::Image(image)) => {
                let count = diff_ids.len();
                if let Ok(layers) = image.layers(diff_ids.clone()) {
                    assert_eq!(layers.len(), count, "each layer has its diff id");
                }
            }
            Err(_) => {}
        }
    }
}

/// Reads one header value, and the same value twice.
///
/// # Panics
/// When a second header of the same value changes the answer.
pub fn challenge(value: &str) {
    let once = challenges::choose([value].into_iter());
    assert_eq!(challenges::choose([value, value].into_iter()), once);
}
