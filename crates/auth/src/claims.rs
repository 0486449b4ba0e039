//! What tokens say, in UAA's names (reference: api-surface 1.3).
//!
//! Three kinds of token share one signing key and are kept apart by the `typ` of their signed header and by a
//! marker in `aud`: access tokens (`JWT`), refresh tokens, and passwords for the platform's own registry. A token
//! of one kind is never accepted as another.

use model::SpaceGuid;
use serde::{Deserialize, Serialize};

/// Claims of an access or refresh token. Absent members are absent, never null: `cf` stops with a panic at
/// `user_name: null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Id of this token.
    pub jti: String,
    /// The user's guid, or the client's id.
    pub sub: String,
    /// What the token may be used for.
    pub scope: Vec<String>,
    /// Client the token was issued to.
    pub client_id: String,
    /// The same, under OAuth's older name.
    pub cid: String,
    /// The same, under OpenID's name.
    pub azp: String,
    /// How it was obtained: `password`, `client_credentials`, `authorization_code`…
    pub grant_type: String,
    /// The user's guid; only in a user's token, as are the next four.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Identity provider of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Name the user logs in with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// The user's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// When the user gave the password, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<u64>,
    /// Changes when the user's or client's credentials change; the identity server compares it on refresh.
    pub rev_sig: String,
    /// Issued at, seconds since 1970.
    pub iat: u64,
    /// Expires at, seconds since 1970.
    pub exp: u64,
    /// Issuer.
    pub iss: String,
    /// Identity zone, always `uaa`.
    pub zid: String,
    /// Audience.
    pub aud: Vec<String>,
    /// Whether single tokens can be revoked: no, they are short-lived.
    pub revocable: bool,
}

/// What a holder of a registry password may do with the repositories of its space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegistryAccess {
    /// Read only: what cells get.
    Pull,
    /// Read and write: what builders get.
    PullPush,
}

/// What a registry password proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryGrant {
    /// Space whose repositories it opens.
    pub space: SpaceGuid,
    /// What for.
    pub access: RegistryAccess,
}

/// Claims of a registry password.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RegistryClaims {
    pub(crate) jti: String,
    /// The space's guid.
    pub(crate) sub: String,
    pub(crate) access: RegistryAccess,
    pub(crate) iat: u64,
    pub(crate) exp: u64,
    pub(crate) iss: String,
    pub(crate) aud: Vec<String>,
}

/// What every kind of token carries.
pub(crate) trait Envelope {
    fn expires(&self) -> u64;
    fn issuer(&self) -> &str;
    fn audience(&self) -> &[String];
}

impl Envelope for Claims {
    fn expires(&self) -> u64 {
        self.exp
    }

    fn issuer(&self) -> &str {
        &self.iss
    }

    fn audience(&self) -> &[String] {
        &self.aud
    }
}

impl Envelope for RegistryClaims {
    fn expires(&self) -> u64 {
        self.exp
    }

    fn issuer(&self) -> &str {
        &self.iss
    }

    fn audience(&self) -> &[String] {
        &self.aud
    }
}

/// The kinds of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Access,
    Refresh,
    Registry,
}

impl Kind {
    /// `typ` of the protected header.
    pub(crate) fn typ(self) -> &'static str {
        match self {
            Self::Access => "JWT",
            Self::Refresh => "slipway-refresh+jwt",
            Self::Registry => "slipway-registry+jwt",
        }
    }

    /// Audience only tokens of this kind have; none for access tokens, whose audience follows their scopes.
    pub(crate) fn marker(self) -> Option<&'static str> {
        match self {
            Self::Access => None,
            Self::Refresh => Some("slipway:refresh"),
            Self::Registry => Some("slipway:registry"),
        }
    }

    /// Whether a token with this audience can be of this kind.
    pub(crate) fn accepts(self, audience: &[String]) -> bool {
        match self.marker() {
            Some(marker) => audience == [marker],
            None => !audience.iter().any(|name| name.starts_with("slipway:")),
        }
    }
}
