//! Who may do what: the question this crate asks, and what a client presented.

use std::fmt;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;

/// Credentials as they came, unchecked.
#[derive(Clone, PartialEq, Eq)]
pub enum Presented {
    /// No credentials, or none that can be read.
    Nothing,
    /// Name and password, or a token as the password.
    Basic {
        /// Name of the user.
        username: String,
        /// Secret.
        password: String,
    },
    /// A bearer token; secret.
    Bearer(String),
}

/// What is to be done with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read it.
    Pull,
    /// Write to it.
    Push,
}

/// The answer to a question of access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// May do it.
    Allow,
    /// A known user who may not. A denied pull looks to the user as if the repository did not exist.
    Deny,
    /// Nobody known: the client is asked for credentials.
    Unauthenticated,
}

/// Says who may use a repository.
pub trait Access: Send + Sync + 'static {
    /// Whether the bearer of `presented` may do `action` with `repository`. An empty repository asks only whether the
    /// credentials are good (`docker login`); clients send none later on if this is allowed without any.
    fn authorize<'a>(
        &'a self,
        presented: Presented,
        repository: &'a str,
        action: Action,
    ) -> BoxFuture<'a, Verdict>;
}

impl Presented {
    /// Reads the `Authorization` header. What cannot be read counts as nothing, so that the client is asked again.
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        value.and_then(Self::parse).unwrap_or(Self::Nothing)
    }

    fn parse(value: &str) -> Option<Self> {
        let (scheme, rest) = value.split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty() {
            return Some(Self::Bearer(rest.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        let (username, password) = text.split_once(':')?;
        Some(Self::Basic {
            username: username.to_owned(),
            password: password.to_owned(),
        })
    }
}

/// Secrets are left out.
impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Basic { username, .. } => f
                .debug_struct("Basic")
                .field("username", username)
                .finish_non_exhaustive(),
            Self::Bearer(_) => f.write_str("Bearer(…)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_or_nothing() {
        let basic = |username: &str, password: &str| Presented::Basic {
            username: username.to_owned(),
            password: password.to_owned(),
        };
        for (value, want) in [
            ("Basic dXNlcjpwYTpzcw==", basic("user", "pa:ss")),
            ("bASIC dXNlcjo=", basic("user", "")),
            ("bearer abc", Presented::Bearer("abc".to_owned())),
            ("Bearer ", Presented::Nothing),
            ("Basic !!!", Presented::Nothing),
            ("Basic dXNlcg==", Presented::Nothing),
            ("Basic", Presented::Nothing),
            ("Digest x", Presented::Nothing),
        ] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(Presented::read(&headers), want, "{value}");
        }
        assert_eq!(Presented::read(&HeaderMap::new()), Presented::Nothing);
    }

    #[test]
    fn debug_keeps_secrets() {
        let basic = Presented::Basic {
            username: "u".into(),
            password: "hidden".into(),
        };
        assert!(!format!("{basic:?} {:?}", Presented::Bearer("hidden".into())).contains("hidden"));
    }
}
