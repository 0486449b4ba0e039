//! The certificates of the https listener, chosen by the name the client asks for.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// A default certificate and others by name. May be changed while the router runs; connections made before keep theirs.
pub struct Certificates {
    default: ArcSwap<CertifiedKey>,
    named: ArcSwap<HashMap<Box<str>, Arc<CertifiedKey>>>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The chain is not PEM.
    #[error("cannot read the certificate chain; give a PEM file with the leaf first")]
    Chain(#[source] pem::Error),
    /// There is no certificate in the chain.
    #[error("the certificate chain is empty; give a PEM file with the leaf first")]
    Empty,
    /// The key is not PEM.
    #[error("cannot read the private key; give a PKCS#8, SEC1 or PKCS#1 key as PEM")]
    Key(#[source] pem::Error),
    /// Key and certificate do not fit, or the key is of an unsupported kind.
    #[error("certificate and private key do not fit together")]
    Mismatch(#[source] rustls::Error),
    /// The TLS library refuses to start.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
}

impl Certificates {
    /// Certificates with only a default: a PEM chain, leaf first, and its PEM key.
    ///
    /// # Errors
    /// When either cannot be read or they do not belong together.
    pub fn new(chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, CertificateError> {
        Ok(Self {
            default: ArcSwap::new(certified(chain_pem, key_pem)?),
            named: ArcSwap::default(),
        })
    }

    /// Replaces the default.
    ///
    /// # Errors
    /// As [`Certificates::new`]; the old default stays then.
    pub fn set_default(&self, chain_pem: &[u8], key_pem: &[u8]) -> Result<(), CertificateError> {
        self.default.store(certified(chain_pem, key_pem)?);
        Ok(())
    }

    /// Sets the certificate of `name`: a host, or `*.domain` for all hosts one level below a domain.
    ///
    /// # Errors
    /// As [`Certificates::new`]; nothing changes then.
    pub fn set(&self, name: &str, chain_pem: &[u8], key_pem: &[u8]) -> Result<(), CertificateError> {
        let key = certified(chain_pem, key_pem)?;
        let name: Box<str> = name.to_ascii_lowercase().into();
        self.named.rcu(|named| {
            let mut named = HashMap::clone(named);
            named.insert(name.clone(), key.clone());
            named
        });
        Ok(())
    }

    fn find(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let named = self.named.load();
        if named.is_empty() {
            return None;
        }
        let name = name.to_ascii_lowercase();
        let wildcard = || named.get(format!("*.{}", name.split_once('.')?.1).as_str());
        named.get(name.as_str()).or_else(wildcard).cloned()
    }

    /// TLS 1.2 and 1.3, HTTP/2 preferred.
    pub(crate) fn server_config(self: &Arc<Self>) -> Result<ServerConfig, CertificateError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(CertificateError::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(CertificateError::Tls)?;
        Ok(config)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(
            hello
                .server_name()
                .and_then(|name| self.find(name))
                .unwrap_or_else(|| self.default.load_full()),
        )
    }
}

/// Names only: keys stay out of logs.
impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("named", &self.named.load().keys())
            .finish_non_exhaustive()
    }
}

fn certified(chain_pem: &[u8], key_pem: &[u8]) -> Result<Arc<CertifiedKey>, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(chain_pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(CertificateError::Chain)?;
    if chain.is_empty() {
        return Err(CertificateError::Empty);
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(CertificateError::Key)?;
    let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
    certified.map(Arc::new).map_err(CertificateError::Mismatch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn names_win_over_the_default_and_bad_pairs_are_refused() {
        let (chain, key) = pem("default");
        let certificates = Certificates::new(chain.as_bytes(), key.as_bytes()).unwrap();
        let (other_chain, other_key) = pem("other");
        certificates
            .set("*.Apps.example", other_chain.as_bytes(), other_key.as_bytes())
            .unwrap();
        assert!(certificates.find("x.apps.example").is_some());
        assert!(certificates.find("apps.example").is_none());
        assert!(certificates.find("y.x.apps.example").is_none());

        let new = |chain: &str, key: &str| Certificates::new(chain.as_bytes(), key.as_bytes()).err();
        assert!(matches!(
            new(&chain, &other_key),
            Some(CertificateError::Mismatch(_))
        ));
        assert!(matches!(new("", &key), Some(CertificateError::Empty)));
        assert!(matches!(new(&chain, "nothing"), Some(CertificateError::Key(_))));
        assert!(!format!("{certificates:?}").contains("PRIVATE"));
    }
}
