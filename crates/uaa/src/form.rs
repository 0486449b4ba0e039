//! Form bodies and `Basic` headers. Neither has `Debug`: both carry passwords.

use auth::Secret;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::UaaError;

/// Set by clients that percent-encode id and secret before joining them, as RFC 6749 2.3.1 asks.
const ENCODED: &str = "x-cf-encoded-credentials";

/// The fields of a form body.
pub(crate) struct Form(Vec<(String, String)>);

/// Id and secret of a client.
pub(crate) struct Credentials {
    pub(crate) id: String,
    pub(crate) secret: Secret,
}

impl Form {
    /// The field, if it is there and not empty.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(name, _)| name == key);
        pair.map(|(_, value)| value.as_str()).filter(|v| !v.is_empty())
    }

    /// The field, or 400.
    pub(crate) fn need(&self, key: &str) -> Result<&str, UaaError> {
        self.text(key)
            .ok_or_else(|| UaaError::invalid_request(format!("The form field '{key}' is missing or empty")))
    }

    /// Client credentials in the form; an absent secret is the empty one.
    pub(crate) fn client(&self) -> Option<Credentials> {
        let id = self.text("client_id")?.to_owned();
        let secret = Secret::new(self.text("client_secret").unwrap_or_default());
        Some(Credentials { id, secret })
    }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = UaaError;

    async fn from_request(request: Request, state: &S) -> Result<Self, UaaError> {
        let form = axum::Form::<Vec<(String, String)>>::from_request(request, state).await;
        let refused = |_| {
            let what = "The body must be application/x-www-form-urlencoded and smaller than 64 KiB";
            UaaError::invalid_request(what)
        };
        form.map(|axum::Form(pairs)| Self(pairs)).map_err(refused)
    }
}

/// Client credentials of the `Authorization` header; `None` when it has no `Basic` scheme.
pub(crate) fn basic(headers: &HeaderMap) -> Result<Option<Credentials>, UaaError> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| UaaError::invalid_client())?;
    let encoded = match text.trim().split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("basic") => rest.trim(),
        _ => return Ok(None),
    };
    let bytes = STANDARD.decode(encoded).map_err(|_| UaaError::invalid_client())?;
    let text = String::from_utf8(bytes).map_err(|_| UaaError::invalid_client())?;
    let (id, secret) = text.split_once(':').ok_or_else(UaaError::invalid_client)?;
    let decode = |part: &str| match headers.get(ENCODED).is_some_and(|v| v == "true") {
        true => percent_encoding::percent_decode_str(part)
            .decode_utf8_lossy()
            .into_owned(),
        false => part.to_owned(),
    };
    Ok(Some(Credentials {
        id: decode(id),
        secret: Secret::new(decode(secret)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str, encoded: bool) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        if encoded {
            headers.insert(ENCODED, "true".parse().unwrap());
        }
        let got = basic(&headers).ok()??;
        Some((got.id, got.secret.into_exposed()))
    }

    #[test]
    fn basic_headers_are_read() {
        let pair = |id: &str, secret: &str| Some((id.to_owned(), secret.to_owned()));
        for (value, encoded, expected) in [
            ("Basic Y2Y6", false, pair("cf", "")),
            ("basic YTpiOmM=", false, pair("a", "b:c")),
            ("Basic YTpiJTQw", false, pair("a", "b%40")),
            ("Basic YTpiJTQw", true, pair("a", "b@")),
            ("Basic Y2Y", false, None),
            ("Basic Y2Y=", false, None),
            ("Basic ////", false, None),
            ("Bearer x", false, None),
            ("", false, None),
        ] {
            assert_eq!(read(value, encoded), expected, "{value}");
        }
    }
}
