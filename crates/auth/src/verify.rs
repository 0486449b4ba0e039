//! Checking tokens. Anyone with the public keys can; nothing is looked up.
//!
//! The algorithm is fixed to RS256 and the key is chosen by the header's `kid` among the configured ones, so the
//! token cannot choose how it is checked. Kinds are kept apart as `claims.rs` says.

use std::collections::HashMap;
use std::time::SystemTime;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use model::SpaceGuid;
use serde::de::DeserializeOwned;

use crate::claims::{Envelope, Kind, RegistryClaims};
use crate::mint::unix_secs;
use crate::{Claims, Identity, Jwk, KeyError, RegistryGrant};

/// How far the clocks of two control nodes may differ, seconds.
pub const LEEWAY_SECS: u64 = 5;

/// Longest token looked at, bytes; HTTP servers refuse longer headers anyway.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Checks tokens of one issuer.
pub struct Verifier {
    keys: HashMap<String, DecodingKey>,
    issuer: String,
    rules: Validation,
}

/// Why a token was not accepted. Never contains the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The header value has another scheme, such as `Basic`.
    #[error("not a bearer token")]
    NotBearer,
    /// Empty, too long, not a signed token, or without the claims it must have.
    #[error("not a well-formed token of this platform")]
    Malformed,
    /// Signed with a key that is not (or no longer) known.
    #[error("signed with an unknown key; log in again")]
    UnknownKey,
    /// The signature is not that of the key it names.
    #[error("the signature does not match")]
    BadSignature,
    /// A refresh token used as an access token, or the like.
    #[error("a token of another kind is needed here")]
    WrongKind,
    /// From another installation.
    #[error("issued by another identity server; log in again")]
    WrongIssuer,
    /// Past its end.
    #[error("expired; log in again")]
    Expired,
}

impl Verifier {
    /// A verifier for tokens of `issuer` signed with any of the keys: the current one and, while keys are being
    /// changed, the previous ones.
    pub fn new<'a>(
        keys: impl IntoIterator<Item = &'a Jwk>,
        issuer: impl Into<String>,
    ) -> Result<Self, KeyError> {
        let mut known = HashMap::new();
        for jwk in keys {
            let refused = || KeyError::NotJwk { kid: jwk.kid.clone() };
            if jwk.kty != "RSA" || jwk.alg != "RS256" {
                return Err(refused());
            }
            let key = DecodingKey::from_rsa_components(&jwk.n, &jwk.e).map_err(|_| refused())?;
            known.insert(jwk.kid.clone(), key);
        }
        let mut rules = Validation::new(Algorithm::RS256);
        // Time, issuer and audience are checked here: time is a parameter, the rest depends on the kind of token.
        rules.validate_exp = false;
        rules.validate_aud = false;
        rules.required_spec_claims.clear();
        Ok(Self {
            keys: known,
            issuer: issuer.into(),
            rules,
        })
    }

    /// Who an access token speaks for. `text` is the value of an `Authorization` header (`bearer …`, in any case)
    /// or the token alone.
    pub fn verify(&self, text: &str, now: SystemTime) -> Result<Identity, TokenError> {
        Identity::from_claims(self.verify_access(text, now)?).ok_or(TokenError::Malformed)
    }

    /// All claims of an access token, for `/check_token` and `/userinfo`.
    pub fn verify_access(&self, text: &str, now: SystemTime) -> Result<Claims, TokenError> {
        self.check(strip_scheme(text)?, Kind::Access, now)
    }

    /// The claims of a refresh token. The caller still checks that user and client exist and that `rev_sig` is
    /// theirs.
    pub fn verify_refresh(&self, token: &str, now: SystemTime) -> Result<Claims, TokenError> {
        self.check(token.trim(), Kind::Refresh, now)
    }

    /// What a password for the platform's own registry opens.
    pub fn verify_registry(&self, password: &str, now: SystemTime) -> Result<RegistryGrant, TokenError> {
        let claims: RegistryClaims = self.check(password.trim(), Kind::Registry, now)?;
        Ok(RegistryGrant {
            space: SpaceGuid::new(claims.sub),
            access: claims.access,
        })
    }

    fn check<C>(&self, token: &str, kind: Kind, now: SystemTime) -> Result<C, TokenError>
    where
        C: DeserializeOwned + Envelope,
    {
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        let kid = header.kid.ok_or(TokenError::Malformed)?;
        let key = self.keys.get(&kid).ok_or(TokenError::UnknownKey)?;
        // The kind is judged after the signature; claims of another kind may not even have this shape.
        let any: jsonwebtoken::TokenData<serde_json::Value> = jsonwebtoken::decode(token, key, &self.rules)
            .map_err(|why| match why.kind() {
            ErrorKind::InvalidSignature => TokenError::BadSignature,
            _ => TokenError::Malformed,
        })?;
        if any.header.typ.as_deref() != Some(kind.typ()) {
            return Err(TokenError::WrongKind);
        }
        let claims: C = serde_json::from_value(any.claims).map_err(|_| TokenError::Malformed)?;
        if claims.issuer() != self.issuer {
            return Err(TokenError::WrongIssuer);
        }
        if !kind.accepts(claims.audience()) {
            return Err(TokenError::WrongKind);
        }
        if unix_secs(now) >= claims.expires().saturating_add(LEEWAY_SECS) {
            return Err(TokenError::Expired);
        }
        Ok(claims)
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("issuer", &self.issuer)
            .field("keys", &self.keys.keys())
            .finish()
    }
}

/// The token of a header value, or the text itself when it is one word.
fn strip_scheme(text: &str) -> Result<&str, TokenError> {
    match text.trim().split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        Some(_) => Err(TokenError::NotBearer),
        None => Ok(text.trim()),
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
