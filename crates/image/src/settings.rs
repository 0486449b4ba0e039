//! What an operator says about registries, checked before the first request.

use std::collections::HashSet;
use std::time::Duration;

use crate::authority::Authority;
use crate::reference::HUB;

/// How the client treats registries.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Registry of references that name none; the public hub unless changed.
    pub default_registry: String,
    /// `HOST:PORT` of registries whose certificate is not checked and which may speak plain HTTP.
    pub insecure: Vec<String>,
    /// PEM bundles of certificate authorities trusted besides the system's.
    pub extra_ca_pem: Vec<Vec<u8>>,
    /// How often one request is tried again after a fault that may pass.
    pub max_retries: u32,
    /// Longest waits.
    pub timeouts: Timeouts,
}

/// Longest waits of the client.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For TCP and TLS to a registry.
    pub connect: Duration,
    /// From a request to the headers of its answer, and for the whole body of a manifest, configuration or token.
    pub response: Duration,
    /// Without one byte of a blob, before its connection is given up and resumed.
    pub stall: Duration,
    /// Pause before the first retry; later ones double.
    pub first_pause: Duration,
    /// Longest pause before a retry. A registry that demands more with `Retry-After` is reported instead of waited for.
    pub longest_pause: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_registry: HUB.to_owned(),
            insecure: Vec::new(),
            extra_ca_pem: Vec::new(),
            max_retries: 4,
            timeouts: Timeouts::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            response: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
        }
    }
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// An insecure entry such as `https://host:5000`.
    #[error("insecure registry {0:?} must not have a scheme; write HOST:PORT")]
    InsecureScheme(String),
    /// An insecure entry such as `host`.
    #[error("insecure registry {0:?} has no port; write HOST:PORT, for example {0}:443")]
    InsecureWithoutPort(String),
    /// An insecure entry that is no `HOST:PORT` at all.
    #[error("insecure registry {0:?} is not of the form HOST:PORT")]
    InsecureMalformed(String),
    /// A default registry that is no host.
    #[error("default registry {0:?} is not of the form HOST or HOST:PORT, without a scheme or path")]
    DefaultRegistry(String),
    /// A CA bundle that holds no usable certificate. Bundles count from 1.
    #[error("registry CA bundle number {number} is not usable ({cause}); give PEM certificates")]
    CertificateAuthority {
        /// Which bundle.
        number: usize,
        /// Why.
        cause: String,
    },
    /// The HTTP client did not start.
    #[error("the registry client cannot start: {0}")]
    Http(String),
}

impl Settings {
    /// The insecure list in the form requests are compared with: lower-case `host:port`.
    pub(crate) fn insecure_set(&self) -> Result<HashSet<String>, SettingsError> {
        self.insecure
            .iter()
            .map(|entry| insecure_entry(entry.trim()))
            .collect()
    }

    /// The default registry in its written form.
    pub(crate) fn check_default_registry(&self) -> Result<(), SettingsError> {
        match Authority::parse(&self.default_registry) {
            Some(_) => Ok(()),
            None => Err(SettingsError::DefaultRegistry(self.default_registry.clone())),
        }
    }
}

fn insecure_entry(entry: &str) -> Result<String, SettingsError> {
    if entry.contains("://") {
        return Err(SettingsError::InsecureScheme(entry.to_owned()));
    }
    match Authority::parse(entry) {
        Some(authority @ Authority { port: Some(_), .. }) => Ok(authority.to_string()),
        Some(_) => Err(SettingsError::InsecureWithoutPort(entry.to_owned())),
        None => Err(SettingsError::InsecureMalformed(entry.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_insecure_list_takes_host_and_port_only() {
        let check = |entry: &str| {
            let settings = Settings {
                insecure: vec![entry.to_owned()],
                ..Settings::default()
            };
            settings.insecure_set().map_err(|e| e.to_string())
        };
        assert!(check("Reg.Example:5000").unwrap().contains("reg.example:5000"));
        assert!(check("[::1]:5000").is_ok());
        assert!(
            check("http://reg:5000")
                .unwrap_err()
                .contains("must not have a scheme")
        );
        assert!(check("reg.example").unwrap_err().contains("has no port"));
        assert!(check("reg:5000/path").unwrap_err().contains("HOST:PORT"));
    }
}
