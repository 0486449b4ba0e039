//! What the access token says about its owner. The token is read, never verified: the server does that.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::json::Json;

/// How long before its end a token is replaced.
const MARGIN: Duration = Duration::from_secs(60);

/// The claims of an access token.
#[derive(Clone, Debug)]
pub struct Claims(Value);

impl Claims {
    /// Reads the middle part of a compact JWS; none for anything else.
    pub fn read(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
        let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
        let claims: Value = serde_json::from_slice(&bytes).ok()?;
        claims.is_object().then_some(Self(claims))
    }

    /// Who to call the owner: user name, or client id of a service account.
    pub fn owner(&self) -> &str {
        match self.0.text("/user_name") {
            "" => self.0.text("/client_id"),
            name => name,
        }
    }

    /// The user's identity provider; empty for a service account.
    pub fn origin(&self) -> &str {
        self.0.text("/origin")
    }

    /// Whether a service account owns the token.
    pub fn is_client(&self) -> bool {
        self.0.text("/user_name").is_empty()
    }

    /// The token's id, when the server can revoke it.
    pub fn revocable_id(&self) -> Option<&str> {
        let revocable = self.0.truth("/revocable") == Some(true);
        Some(self.0.text("/jti")).filter(|id| revocable && !id.is_empty())
    }

    /// Whether the token ends within a minute of `now`, or does not say when.
    fn ends_soon(&self, now: SystemTime) -> bool {
        let Some(end) = self.0.float("/exp").filter(|end| end.is_finite() && *end > 0.0) else {
            return true;
        };
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default() + MARGIN;
        end < now.as_secs_f64()
    }
}

/// Whether a token must be replaced before it is used: it ends within a minute, or cannot be read.
pub fn needs_refresh(token: &str, now: SystemTime) -> bool {
    Claims::read(token).is_none_or(|claims| claims.ends_soon(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn token(claims: &Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    #[test]
    fn tokens_are_refreshed_a_minute_early() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        for (exp, needed) in [(1061, false), (1060, false), (1059, true), (900, true)] {
            assert_eq!(needs_refresh(&token(&json!({"exp": exp})), now), needed, "{exp}");
        }
        for bad in [
            "",
            "opaque",
            "a.b",
            "a.!!.c",
            &token(&json!({})),
            &token(&json!([1])),
        ] {
            assert!(needs_refresh(bad, now), "{bad}");
        }
    }

    #[test]
    fn owners_are_users_or_clients() {
        let user = Claims::read(&token(
            &json!({"user_name":"ann","origin":"uaa","client_id":"cf"}),
        ))
        .unwrap();
        assert_eq!(
            (user.owner(), user.origin(), user.is_client()),
            ("ann", "uaa", false)
        );
        let client = Claims::read(&token(&json!({"client_id":"ci","jti":"j","revocable":true}))).unwrap();
        assert_eq!((client.owner(), client.is_client()), ("ci", true));
        assert_eq!(client.revocable_id(), Some("j"));
    }
}
