//! How the client behaves, and what an operator can have written wrongly.

use std::time::Duration;

use model::RegistrySettings;

/// How the client treats registries.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The operator's document to begin with; [`crate::Client::apply`] replaces it.
    pub registry: RegistrySettings,
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
    /// All waiting for the network during one blob together, besides what `slowest` grants its size.
    pub patience: Duration,
    /// Bytes a second below which a registry is too slow, once `patience` is used up.
    pub slowest: u64,
    /// Pause before the first retry; later ones double.
    pub first_pause: Duration,
    /// Longest pause before a retry. A registry that demands more with `Retry-After` is reported instead of waited for.
    pub longest_pause: Duration,
    /// How long a mirror that did not answer is passed over.
    pub mirror_rest: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            registry: RegistrySettings::default(),
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
            patience: Duration::from_secs(300),
            slowest: 32 * 1024,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            mirror_rest: Duration::from_secs(30),
        }
    }
}

/// Settings that cannot be used. Each names the wrong entry and what to write instead.
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
    /// An entry of any other list or value.
    #[error("{list} entry {entry:?} {why}; write {write}")]
    Entry {
        /// Where it stands in the document, such as `addresses.allow`.
        list: &'static str,
        /// The entry, without what could be a password.
        entry: String,
        /// What is wrong.
        why: &'static str,
        /// The right form.
        write: &'static str,
    },
    /// More entries than a document may have.
    #[error(
        "{list} has {count} entries, more than {most}; write fewer, for example with *.DOMAIN or HOST/PATH/*"
    )]
    TooMany {
        /// Where.
        list: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// The HTTP client did not start.
    #[error("the registry client cannot start: {0}")]
    Http(String),
}
