//! Certificates of the router when the operator brings none: a CA made once, and a certificate from it for the
//! platform's domains, renewed at each start.

use std::path::PathBuf;

use anyhow::Context;
use auth::Secret;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::data_dir::DataDir;
use crate::keys::kept;

/// Certificate chain and key, PEM, and where the CA's certificate lies for browsers to trust.
pub struct Issued {
    pub chain: Vec<u8>,
    pub key: Vec<u8>,
    pub ca_file: PathBuf,
}

/// A certificate for these domains and all hosts one level below them.
pub fn issue(data: &DataDir, domains: &[&str]) -> anyhow::Result<Issued> {
    let ca_file = data.join("keys/ca.pem");
    let ca_key = kept(&data.join("keys/ca-key.pem"), || {
        Ok(Secret::new(KeyPair::generate()?.serialize_pem()))
    })?;
    let ca_key = KeyPair::from_pem(ca_key.expose()).context("keys/ca-key.pem is damaged")?;
    let params = ca_params()?;
    let ca_pem = kept(&ca_file, || Ok(Secret::new(params.self_signed(&ca_key)?.pem())))?;
    let issuer = Issuer::new(params, ca_key);
    let names = domains
        .iter()
        .flat_map(|domain| [(*domain).to_owned(), format!("*.{domain}")]);
    let mut leaf = CertificateParams::new(names.collect::<Vec<_>>())?;
    leaf.distinguished_name.push(
        DnType::CommonName,
        *domains.first().context("no domain to certify")?,
    );
    let key = KeyPair::generate()?;
    let chain = format!("{}{}", leaf.signed_by(&key, &issuer)?.pem(), ca_pem.expose());
    Ok(Issued {
        chain: chain.into_bytes(),
        key: key.serialize_pem().into_bytes(),
        ca_file,
    })
}

fn ca_params() -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "Slipway CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}
