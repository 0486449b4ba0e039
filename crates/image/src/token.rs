//! Turns a registry's challenge into an `Authorization` header, and keeps it while it is good.
//!
//! Rule: the token protocol of the distribution project. A header is kept per registry host, repository and
//! credentials, so that one tenant's token never serves another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use crate::credentials::Credentials;
use crate::retry::Failure;

/// Life of a token that does not say (the protocol's default).
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// No registry issues longer ones; a larger figure is not believed.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long before its end a token is no longer used.
const MARGIN: Duration = Duration::from_secs(5);
/// Headers kept at most; beyond it the ones that end soonest go.
const MAX_KEPT: usize = 1024;

/// Whose header it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Holder {
    pub(crate) host: String,
    pub(crate) repository: String,
    pub(crate) credentials: Option<Credentials>,
}

/// A header and how long it is good.
#[derive(Clone)]
pub(crate) struct Grant {
    pub(crate) header: HeaderValue,
    until: Instant,
}

impl Grant {
    /// A header that is good for `life`.
    pub(crate) fn for_life(mut header: HeaderValue, life: Duration) -> Self {
        header.set_sensitive(true);
        Self {
            header,
            until: Instant::now() + life.min(LONGEST_LIFE).saturating_sub(MARGIN),
        }
    }
}

/// Headers in use.
#[derive(Default)]
pub(crate) struct Grants {
    kept: Mutex<HashMap<Holder, Grant>>,
    flights: Mutex<HashMap<Holder, Weak<Flight>>>,
}

/// Held by the one that fetches a header; says when and how the last fetch failed.
pub(crate) type Flight = tokio::sync::Mutex<Option<(Instant, Failure)>>;

impl Grants {
    pub(crate) fn get(&self, holder: &Holder) -> Option<HeaderValue> {
        self.grant(holder).map(|grant| grant.header)
    }

    pub(crate) fn grant(&self, holder: &Holder) -> Option<Grant> {
        let kept = self.lock();
        kept.get(holder)
            .filter(|grant| Instant::now() < grant.until)
            .cloned()
    }

    pub(crate) fn keep(&self, holder: Holder, grant: Grant) {
        let mut kept = self.lock();
        if kept.len() >= MAX_KEPT {
            let now = Instant::now();
            kept.retain(|_, grant| now < grant.until);
            if kept.len() >= MAX_KEPT
                && let Some(first) = kept
                    .iter()
                    .min_by_key(|(_, grant)| grant.until)
                    .map(|(holder, _)| holder.clone())
            {
                kept.remove(&first);
            }
        }
        kept.insert(holder, grant);
    }

    /// Forgets a refused header, unless another request has renewed it already.
    pub(crate) fn forget(&self, holder: &Holder, refused: &HeaderValue) {
        let mut kept = self.lock();
        if kept.get(holder).is_some_and(|grant| grant.header == *refused) {
            kept.remove(holder);
        }
    }

    /// The lock under which a holder's header is fetched; it lives as long as somebody holds it.
    pub(crate) fn flight(&self, holder: &Holder) -> Arc<Flight> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(holder).and_then(Weak::upgrade) {
            return flight;
        }
        flights.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::new(Flight::default());
        flights.insert(holder.clone(), Arc::downgrade(&flight));
        flight
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Holder, Grant>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The header of RFC 7617, good until refused.
pub(crate) fn basic(credentials: &Credentials) -> Grant {
    let pair = format!("{}:{}", credentials.username, credentials.password);
    let text = format!("Basic {}", STANDARD.encode(pair));
    let mut header = HeaderValue::try_from(text).expect("base64 holds visible ASCII only");
    header.set_sensitive(true);
    Grant {
        header,
        until: Instant::now() + LONGEST_LIFE,
    }
}

#[derive(Deserialize)]
struct TokenReply {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<serde_json::Value>,
}

/// Reads a token server's reply; the error says what is wrong with it and repeats none of it.
pub(crate) fn bearer(body: &[u8]) -> Result<Grant, &'static str> {
    let reply: TokenReply =
        serde_json::from_slice(body).map_err(|_| "the token server's reply is not a token")?;
    let token = [reply.token, reply.access_token]
        .into_iter()
        .flatten()
        .find(|token| !token.is_empty());
    let token = token.ok_or("the token server's reply holds no token")?;
    let seconds = reply.expires_in.and_then(|n| n.as_f64()).filter(|s| *s > 0.0);
    let life = seconds
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
        .unwrap_or(DEFAULT_LIFE)
        .min(LONGEST_LIFE);
    let header = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| "the token holds characters no header may")?;
    Ok(Grant::for_life(header, life))
}

/// Where to ask for a token: the realm with service, scope and, for the server's log, the account.
pub(crate) fn token_url(realm: &Url, query: &[(&str, &str)]) -> Url {
    let mut url = realm.clone();
    // A user name in the URL would be turned into an Authorization header.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.query_pairs_mut().extend_pairs(query);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(repository: &str) -> Holder {
        Holder {
            host: "h".to_owned(),
            repository: repository.to_owned(),
            credentials: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_used_until_shortly_before_its_end() {
        let grants = Grants::default();
        grants.keep(holder("a"), bearer(br#"{"token":"t","expires_in":60}"#).unwrap());
        assert_eq!(grants.get(&holder("a")).unwrap(), "Bearer t");
        assert!(grants.get(&holder("b")).is_none());
        tokio::time::advance(Duration::from_secs(56)).await;
        assert!(grants.get(&holder("a")).is_none());
    }

    #[tokio::test]
    async fn only_the_refused_header_is_forgotten_and_the_number_is_bounded() {
        let grants = Grants::default();
        grants.keep(holder("a"), bearer(br#"{"access_token":"new"}"#).unwrap());
        grants.forget(&holder("a"), &HeaderValue::from_static("Bearer old"));
        assert!(grants.get(&holder("a")).is_some());
        grants.forget(&holder("a"), &HeaderValue::from_static("Bearer new"));
        assert!(grants.get(&holder("a")).is_none());
        for i in 0..MAX_KEPT + 10 {
            grants.keep(holder(&i.to_string()), bearer(br#"{"token":"t"}"#).unwrap());
        }
        assert_eq!(grants.lock().len(), MAX_KEPT);
    }

    #[test]
    fn basic_takes_json_keys_with_quotes_and_newlines() {
        let credentials = Credentials {
            username: "_json_key".to_owned(),
            password: "{\n\"k\": \"v\u{e9}\"\n}".to_owned(),
        };
        let header = basic(&credentials).header;
        assert!(header.is_sensitive());
        let coded = header
            .to_str()
            .unwrap()
            .strip_prefix("Basic ")
            .unwrap()
            .to_owned();
        assert_eq!(
            STANDARD.decode(coded).unwrap(),
            "_json_key:{\n\"k\": \"v\u{e9}\"\n}".as_bytes()
        );
    }

    #[test]
    fn bad_token_replies_are_refused() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"token":""}"#,
            r#"{"token":"a\nb"}"#,
            r#"{"token":1}"#,
        ] {
            assert!(bearer(body.as_bytes()).is_err(), "{body}");
        }
        for body in [
            r#"{"token":"","access_token":"x"}"#,
            r#"{"token":"x","expires_in":-1}"#,
            r#"{"token":"x","expires_in":1e300}"#,
        ] {
            assert!(bearer(body.as_bytes()).is_ok(), "{body}");
        }
    }
}
