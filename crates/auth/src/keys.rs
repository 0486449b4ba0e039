//! The RSA key that signs tokens.
//!
//! RS256 because the clients' token library knows the RS, PS, ES and HS families only and services expect UAA's
//! RSA keys at `/token_keys` (reference: api-surface 1.3, 7). The private part is PKCS#8; the caller stores it in
//! a file only the platform can read. The key id is the RFC 7638 thumbprint of the public part, so the same key
//! has the same id wherever it is loaded.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::Secret;

const PRIVATE: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";
const MIN_MODULUS_BYTES: usize = 256;

/// A key that signs tokens. Cheap to use from many threads at once.
pub struct SigningKey {
    pair: RsaKeyPair,
    jwk: Jwk,
}

/// The public part, as `/token_keys` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// Key type, `RSA`.
    pub kty: String,
    /// Use, `sig`.
    #[serde(rename = "use")]
    pub usage: String,
    /// Algorithm, `RS256`.
    pub alg: String,
    /// Key id, named in the header of each token.
    pub kid: String,
    /// Modulus, base64url.
    pub n: String,
    /// Exponent, base64url.
    pub e: String,
    /// The same key as PEM (`SubjectPublicKeyInfo`), which UAA adds and older clients read.
    pub value: String,
}

/// Why a key could not be made or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The library could not make one.
    #[error("an RSA key could not be generated")]
    Generate,
    /// Not a PEM block of a PKCS#8 private key.
    #[error("not a PEM text with one `{PRIVATE}` block; a signing key is an RSA key in PKCS#8 form")]
    NotPem,
    /// Not PKCS#8, not RSA, or an inconsistent key.
    #[error("not a usable RSA private key in PKCS#8 form: {0}")]
    NotRsa(String),
    /// Shorter than 2048 bits.
    #[error("the RSA key has {0} bits; 2048 are the least")]
    TooShort(usize),
    /// A public key that is not what a verifier can use.
    #[error("the public key {kid:?} is not an RS256 signing key")]
    NotJwk {
        /// Its id.
        kid: String,
    },
}

impl SigningKey {
    /// A new random 2048-bit key; takes up to a second.
    pub fn generate() -> Result<Self, KeyError> {
        Self::from_pair(RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::Generate)?)
    }

    /// Reads a PKCS#8 DER key.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        Self::from_pair(RsaKeyPair::from_pkcs8(der).map_err(|why| KeyError::NotRsa(why.to_string()))?)
    }

    /// Reads what [`SigningKey::to_pkcs8_pem`] wrote, or any PEM with a PKCS#8 RSA key of at least 2048 bits.
    pub fn from_pkcs8_pem(text: &str) -> Result<Self, KeyError> {
        Self::from_pkcs8_der(&unpem(text).ok_or(KeyError::NotPem)?)
    }

    /// The private key as PEM, to be stored where only the platform can read it.
    pub fn to_pkcs8_pem(&self) -> Secret {
        let der: Pkcs8V1Der<'_> = self.pair.as_der().expect("a key in memory has a DER form");
        Secret::new(pem(PRIVATE, der.as_ref()))
    }

    /// The key's id.
    pub fn kid(&self) -> &str {
        &self.jwk.kid
    }

    /// The public part.
    pub fn jwk(&self) -> &Jwk {
        &self.jwk
    }

    /// A compact JWS over `claims`, with `typ` in its protected header.
    pub(crate) fn sign(&self, typ: &str, claims: &impl Serialize) -> String {
        let header = serde_json::json!({"alg": self.jwk.alg, "kid": self.jwk.kid, "typ": typ}).to_string();
        let claims = serde_json::to_vec(claims).expect("claims are strings, numbers and lists of them");
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message.as_bytes(),
                &mut signature,
            )
            .expect("the buffer has the modulus' length, and the key was checked when it was read");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn from_pair(pair: RsaKeyPair) -> Result<Self, KeyError> {
        if pair.public_modulus_len() < MIN_MODULUS_BYTES {
            return Err(KeyError::TooShort(pair.public_modulus_len() * 8));
        }
        let public = pair.public_key();
        let n = URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero());
        let e = URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero());
        let spki: PublicKeyX509Der<'_> = public.as_der().expect("a key in memory has a DER form");
        let jwk = Jwk {
            kty: "RSA".to_owned(),
            usage: "sig".to_owned(),
            alg: "RS256".to_owned(),
            kid: thumbprint(&n, &e),
            value: pem(PUBLIC, spki.as_ref()),
            n,
            e,
        };
        Ok(Self { pair, jwk })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, ***)", self.jwk.kid)
    }
}

/// RFC 7638: SHA-256 over the required members in lexical order, base64url.
fn thumbprint(n: &str, e: &str) -> String {
    let members = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        members.as_bytes(),
    ))
}

/// RFC 7468 text form.
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut lines = format!("-----BEGIN {label}-----\n");
    for (at, c) in text.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            lines.push('\n');
        }
        lines.push(c);
    }
    lines + &format!("\n-----END {label}-----\n")
}

fn unpem(text: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {PRIVATE}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {PRIVATE}-----"))?;
    STANDARD
        .decode(body.split_ascii_whitespace().collect::<String>())
        .ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, OnceLock};

    use super::*;

    /// One key for all tests: generating takes up to a second.
    pub(crate) fn key() -> Arc<SigningKey> {
        static KEY: OnceLock<Arc<SigningKey>> = OnceLock::new();
        KEY.get_or_init(|| Arc::new(SigningKey::generate().unwrap()))
            .clone()
    }

    #[test]
    fn a_key_survives_its_file() {
        let pem = key().to_pkcs8_pem();
        let back = SigningKey::from_pkcs8_pem(pem.expose()).unwrap();
        assert_eq!(back.jwk(), key().jwk());
        assert_eq!(back.sign("JWT", &"x"), key().sign("JWT", &"x"));
        assert!(pem.expose().lines().all(|line| line.len() <= 64));
    }

    #[test]
    fn the_public_part_says_what_clients_read() {
        let json = serde_json::to_value(key().jwk()).unwrap();
        for (name, value) in [
            ("kty", "RSA"),
            ("use", "sig"),
            ("alg", "RS256"),
            ("e", "AQAB"),
            ("kid", key().kid()),
        ] {
            assert_eq!(json[name], value);
        }
        assert_eq!(json["n"].as_str().unwrap().len(), 342);
        assert!(
            json["value"]
                .as_str()
                .unwrap()
                .starts_with("-----BEGIN PUBLIC KEY-----\nMIIB")
        );
        assert_eq!(serde_json::from_value::<Jwk>(json).unwrap(), *key().jwk());
    }

    #[test]
    fn the_private_part_does_not_print() {
        assert_eq!(
            format!("{:?}", key()),
            format!("SigningKey({}, ***)", key().kid())
        );
    }

    #[test]
    fn the_thumbprint_is_the_standards_own_example() {
        // RFC 7638, 3.1.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZC\
                 iFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgn\
                 Yb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw\
                 0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        assert_eq!(
            thumbprint(n, "AQAB"),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        );
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for bad in [
            "",
            "hello",
            "-----BEGIN PRIVATE KEY-----\n!!!\n-----END PRIVATE KEY-----",
        ] {
            assert_eq!(
                SigningKey::from_pkcs8_pem(bad).unwrap_err(),
                KeyError::NotPem,
                "{bad}"
            );
        }
        let empty = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----";
        assert!(matches!(
            SigningKey::from_pkcs8_pem(empty).unwrap_err(),
            KeyError::NotRsa(_)
        ));
    }
}
