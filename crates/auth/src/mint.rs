//! Making tokens. Only the identity server does; what it puts in must already be decided.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use model::{SpaceGuid, UserGuid};

use crate::claims::{Kind, RegistryClaims};
use crate::{Claims, Jwk, RegistryAccess, Secret, SigningKey, random_hex};

/// Makes tokens with one key for one issuer.
#[derive(Clone, Debug)]
pub struct Minter {
    key: Arc<SigningKey>,
    issuer: String,
}

/// When a token begins and how long it lasts.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// Now.
    pub now: SystemTime,
    /// Time to live; counted in whole seconds.
    pub ttl: Duration,
}

/// What a user's token says.
#[derive(Clone, Debug)]
pub struct UserGrant {
    /// The user.
    pub guid: UserGuid,
    /// Name the user logs in with.
    pub name: String,
    /// The user's address; UAA always has one, mostly equal to the name.
    pub email: String,
    /// Identity provider, `uaa` for the platform's own users.
    pub origin: String,
    /// Client the user came with, mostly `cf`.
    pub client_id: String,
    /// `password`, `authorization_code`, `urn:ietf:params:oauth:grant-type:jwt-bearer`…
    pub grant_type: String,
    /// Granted scopes.
    pub scopes: Vec<String>,
    /// When the user proved who they are; kept over refreshes.
    pub auth_time: SystemTime,
    /// Fingerprint of the credentials, see [`Claims::rev_sig`].
    pub rev_sig: String,
}

/// What a client's own token says.
#[derive(Clone, Debug)]
pub struct ClientGrant {
    /// The client.
    pub id: String,
    /// Granted scopes.
    pub scopes: Vec<String>,
    /// Fingerprint of the credentials.
    pub rev_sig: String,
}

/// A token, and what the reply says beside it.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The token, without a `bearer` prefix.
    pub token: Secret,
    /// Its id.
    pub jti: String,
    /// Seconds until it expires.
    pub expires_in: u64,
}

impl Minter {
    /// A mint for `issuer`, for example `https://uaa.example.org/oauth/token`.
    pub fn new(key: Arc<SigningKey>, issuer: impl Into<String>) -> Self {
        Self {
            key,
            issuer: issuer.into(),
        }
    }

    /// The issuer written into every token.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The public key that checks these tokens.
    pub fn jwk(&self) -> &Jwk {
        self.key.jwk()
    }

    /// An access token for a user. `cf` refreshes tokens with less than 60 s left before every call, so `ttl` must
    /// be well above.
    pub fn mint_user(&self, grant: &UserGrant, life: Life) -> Minted {
        let audience = audience(&grant.client_id, &grant.scopes);
        self.seal(Kind::Access, self.user_claims(grant, life, audience))
    }

    /// A refresh token for a user: carries the grant, so that refreshing needs only the user's and the client's
    /// present state. Not accepted where an access token is.
    pub fn mint_refresh(&self, grant: &UserGrant, life: Life) -> Minted {
        let marker = Kind::Refresh
            .marker()
            .expect("refresh tokens have one")
            .to_owned();
        self.seal(Kind::Refresh, self.user_claims(grant, life, vec![marker]))
    }

    /// An access token for a client with its own credentials; it names no user.
    pub fn mint_client(&self, grant: &ClientGrant, life: Life) -> Minted {
        let claims = Claims {
            sub: grant.id.clone(),
            scope: grant.scopes.clone(),
            grant_type: "client_credentials".to_owned(),
            rev_sig: grant.rev_sig.clone(),
            aud: audience(&grant.id, &grant.scopes),
            ..self.claims(&grant.id, life)
        };
        self.seal(Kind::Access, claims)
    }

    /// A password for the platform's own registry, good for the repositories of one space.
    pub fn mint_registry(&self, space: &SpaceGuid, access: RegistryAccess, life: Life) -> Minted {
        let (iat, exp) = life.bounds();
        let claims = RegistryClaims {
            jti: random_hex(),
            sub: space.as_str().to_owned(),
            access,
            iat,
            exp,
            iss: self.issuer.clone(),
            aud: Kind::Registry.marker().map(str::to_owned).into_iter().collect(),
        };
        let token = Secret::new(self.key.sign(Kind::Registry.typ(), &claims));
        Minted {
            token,
            jti: claims.jti,
            expires_in: exp - iat,
        }
    }

    fn user_claims(&self, grant: &UserGrant, life: Life, aud: Vec<String>) -> Claims {
        Claims {
            sub: grant.guid.as_str().to_owned(),
            scope: grant.scopes.clone(),
            grant_type: grant.grant_type.clone(),
            user_id: Some(grant.guid.as_str().to_owned()),
            origin: Some(grant.origin.clone()),
            user_name: Some(grant.name.clone()),
            email: Some(grant.email.clone()),
            auth_time: Some(unix_secs(grant.auth_time)),
            rev_sig: grant.rev_sig.clone(),
            aud,
            ..self.claims(&grant.client_id, life)
        }
    }

    /// What every token issued through a client shares; names no user yet.
    fn claims(&self, client_id: &str, life: Life) -> Claims {
        let (iat, exp) = life.bounds();
        Claims {
            jti: random_hex(),
            sub: String::new(),
            scope: Vec::new(),
            client_id: client_id.to_owned(),
            cid: client_id.to_owned(),
            azp: client_id.to_owned(),
            grant_type: String::new(),
            user_id: None,
            origin: None,
            user_name: None,
            email: None,
            auth_time: None,
            rev_sig: String::new(),
            iat,
            exp,
            iss: self.issuer.clone(),
            zid: "uaa".to_owned(),
            aud: Vec::new(),
            revocable: false,
        }
    }

    fn seal(&self, kind: Kind, claims: Claims) -> Minted {
        let token = Secret::new(self.key.sign(kind.typ(), &claims));
        Minted {
            token,
            expires_in: claims.exp - claims.iat,
            jti: claims.jti,
        }
    }
}

impl Life {
    /// Begin and end in seconds since 1970; the end is never before the begin.
    fn bounds(self) -> (u64, u64) {
        let begin = unix_secs(self.now);
        (begin, begin.saturating_add(self.ttl.as_secs()))
    }
}

pub(crate) fn unix_secs(time: SystemTime) -> u64 {
    u64::try_from(base::unix_nanos(time) / 1_000_000_000).unwrap_or_default()
}

/// UAA's audience: the client, and each scope without its last word.
fn audience(client_id: &str, scopes: &[String]) -> Vec<String> {
    let named = scopes
        .iter()
        .map(|scope| scope.rsplit_once('.').map_or(scope.as_str(), |(noun, _)| noun));
    let mut all: Vec<String> = std::iter::once(client_id)
        .chain(named)
        .map(str::to_owned)
        .collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audience_follows_the_scopes() {
        let scopes = [
            "cloud_controller.read",
            "cloud_controller.write",
            "openid",
            "routing.router_groups.read",
        ];
        let scopes: Vec<String> = scopes.map(str::to_owned).to_vec();
        assert_eq!(
            audience("cf", &scopes),
            ["cf", "cloud_controller", "openid", "routing.router_groups"]
        );
    }
}
