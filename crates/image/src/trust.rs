//! Whose certificates are believed: the system's authorities and the operator's.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;

use crate::error::one_line;
use crate::settings::SettingsError;

/// Largest bundle: more than all authorities of the web together.
const MAX_BUNDLE: usize = 1 << 20;

/// How to speak TLS. The inner error is the text for a machine that has no authorities at all: only TLS fails then.
pub(crate) fn trust(bundles: &[String]) -> Result<Result<ClientConfig, String>, SettingsError> {
    let provider = CryptoProvider::get_default()
        .ok_or_else(|| SettingsError::Http("no TLS provider is installed".to_owned()))?;
    let authorities = authorities(bundles)?;
    let has_own = !authorities.is_empty();
    let verifier = match Verifier::new_with_extra_roots(authorities, provider.clone()) {
        Ok(verifier) => verifier,
        Err(error) if has_own => return Err(SettingsError::Http(one_line(&error.to_string()))),
        Err(error) => return Ok(Err(one_line(&error.to_string()))),
    };
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| SettingsError::Http(one_line(&error.to_string())))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Ok(config))
}

fn authorities(bundles: &[String]) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let mut all = Vec::new();
    for (bundle, number) in bundles.iter().zip(1..) {
        let unusable = |cause: String| SettingsError::CertificateAuthority { number, cause };
        if bundle.len() > MAX_BUNDLE {
            return Err(unusable(format!("it is larger than {MAX_BUNDLE} bytes")));
        }
        let before = all.len();
        for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            let certificate = certificate.map_err(|error| unusable(one_line(&error.to_string())))?;
            rustls::RootCertStore::empty()
                .add(certificate.clone())
                .map_err(|error| unusable(one_line(&error.to_string())))?;
            all.push(certificate);
        }
        if all.len() == before {
            return Err(unusable("it holds no certificate".to_owned()));
        }
    }
    Ok(all)
}
