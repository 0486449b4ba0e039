//! Who calls: the access token checked, and that its user and client still stand behind it.

use auth::Claims;
use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use crate::Uaa;
use crate::account::{by_guid, client_rev_sig, user_rev_sig};
use crate::error::UaaError;

/// The holder of a valid access token.
pub(crate) struct Bearer {
    pub(crate) claims: Claims,
}

impl Bearer {
    /// Refuses a token without any of these scopes.
    pub(crate) fn need(&self, any_of: &[&str]) -> Result<(), UaaError> {
        match self.has(any_of) {
            true => Ok(()),
            false => Err(UaaError::insufficient_scope(&any_of.join(", "))),
        }
    }

    /// Whether the token has any of these scopes.
    pub(crate) fn has(&self, any_of: &[&str]) -> bool {
        self.claims
            .scope
            .iter()
            .any(|held| any_of.contains(&held.as_str()))
    }

    /// Whether the token is this user's own.
    pub(crate) fn is_user(&self, guid: &str) -> bool {
        self.claims.user_id.as_deref() == Some(guid)
    }
}

impl FromRequestParts<Uaa> for Bearer {
    type Rejection = UaaError;

    async fn from_request_parts(parts: &mut Parts, uaa: &Uaa) -> Result<Self, UaaError> {
        let header = parts.headers.get(AUTHORIZATION).ok_or_else(|| {
            UaaError::unauthorized("Full authentication is required to access this resource")
        })?;
        let text = header
            .to_str()
            .map_err(|_| UaaError::invalid_token("not a bearer token"))?;
        let claims = uaa
            .verifier
            .verify_access(text, uaa.now())
            .map_err(UaaError::invalid_token)?;
        still_stands(uaa, &claims).await?;
        Ok(Self { claims })
    }
}

/// Refuses a token whose user or client is gone or has other credentials by now.
pub(crate) async fn still_stands(uaa: &Uaa, claims: &Claims) -> Result<(), UaaError> {
    let revoked = || UaaError::invalid_token("revoked; log in again");
    let tx = uaa.store.read().await?;
    let client = tx.find::<store::client::Entity>(&claims.client_id).await?;
    let client = client.ok_or_else(revoked)?;
    let expected = match &claims.user_id {
        None => client_rev_sig(&client),
        Some(guid) => user_rev_sig(&by_guid(&tx, guid).await?.ok_or_else(revoked)?, &client),
    };
    if claims.rev_sig == expected {
        Ok(())
    } else {
        Err(revoked())
    }
}
