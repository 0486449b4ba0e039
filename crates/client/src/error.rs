//! Why a command failed, in words for the person who typed it. The texts are `cf`'s where `cf` has one, because
//! scripts look for them; hence the full stops.

use std::io;

use crate::json::Json;
use serde_json::Value;

/// The result of anything that may fail in front of the user.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line makes no sense; the command's help follows.
    #[error("Incorrect Usage: {0}")]
    Usage(String),
    /// Anything else with a text of its own.
    #[error("{0}")]
    Message(String),
    /// A thing looked up by name is not there.
    #[error("{0}")]
    NotFound(String),
    /// The API refused.
    #[error("{0}")]
    Api(Refusal),
    /// The login server refused.
    #[error("{text}")]
    Login {
        /// HTTP status.
        status: u16,
        /// Words for the user.
        text: String,
    },
    /// Something answered, but not as an API does.
    #[error("Unexpected Response\nResponse Code: {status}\nRequest ID: {request_id}\nDetail: {detail}")]
    Unexpected {
        /// HTTP status.
        status: u16,
        /// `X-Vcap-Request-Id`, if sent.
        request_id: String,
        /// The beginning of the body.
        detail: String,
    },
    /// Nothing answered.
    #[error(
        "Request error: {text}\nTIP: If you are behind a firewall and require an HTTP proxy, verify the https_proxy \
         environment variable is correctly set. Else, check your network connection."
    )]
    Network {
        /// What went wrong, with the address.
        text: String,
    },
    /// The certificate is not one this machine trusts.
    #[error(
        "Invalid SSL Cert for {url}\nTIP: Use '{program} api --skip-ssl-validation' to continue with an insecure API \
         endpoint"
    )]
    Certificate {
        /// The address.
        url: String,
        /// How this program is called.
        program: String,
    },
    /// `curl --fail` met a status of 400 or more.
    #[error("The requested URL returned error: {0}")]
    Curl(u16),
    /// A file or a stream.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The user interrupted a prompt.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// An error of the file system or of a stream.
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            what: what.into(),
            source,
        }
    }

    /// Shorthand for a text.
    pub fn message(text: impl Into<String>) -> Self {
        Self::Message(text.into())
    }

    /// What the process exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Curl(_) => 22,
            Self::Interrupted => 130,
            _ => 1,
        }
    }

    /// Whether the API said 404, or a lookup by name found nothing.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::NotFound(_) => true,
            Self::Api(refusal) => refusal.status == 404,
            _ => false,
        }
    }

    /// Whether the API said 422 with a detail that satisfies `matches`.
    pub fn is_unprocessable(&self, matches: impl Fn(&str) -> bool) -> bool {
        matches!(self, Self::Api(refusal) if refusal.status == 422
            && refusal.causes.iter().any(|cause| matches(&cause.detail)))
    }
}

/// One error object of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Numeric code, e.g. 10008.
    pub code: i64,
    /// Title, e.g. `CF-UnprocessableEntity`.
    pub title: String,
    /// Words for the user.
    pub detail: String,
}

/// What the API answered with a status of 400 or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// At least one cause.
    pub causes: Vec<Cause>,
}

impl Refusal {
    /// Reads `{"errors":[…]}`; none when the body is something else or the list is empty.
    pub fn parse(status: u16, body: &Value) -> Option<Self> {
        let causes: Vec<Cause> = body.items("/errors").iter().map(Cause::parse).collect();
        (!causes.is_empty()).then_some(Self { status, causes })
    }
}

impl Cause {
    /// Reads one error object.
    pub fn parse(value: &Value) -> Self {
        Self {
            code: value.number("/code"),
            title: value.text("/title").to_owned(),
            detail: value.text("/detail").to_owned(),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.status == 401
            && self
                .causes
                .iter()
                .any(|cause| cause.title == "CF-InvalidAuthToken")
        {
            return f.write_str(EXPIRED);
        }
        match self.causes.as_slice() {
            [one] if one.detail.is_empty() => write!(f, "{} ({})", one.title, one.code),
            [one] => f.write_str(&one.detail),
            many => {
                f.write_str("Multiple errors occurred:")?;
                many.iter().try_for_each(|cause| write!(f, "\n{}", cause.detail))
            }
        }
    }
}

/// What is said when a token is no longer worth anything.
pub const EXPIRED: &str =
    "The token expired, was revoked, or the token ID is incorrect. Please log back in to re-authenticate.";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn refusals_read_like_cf() {
        let one = json!({"errors":[{"code":10008,"title":"CF-UnprocessableEntity","detail":"Route already exists"}]});
        assert_eq!(
            Refusal::parse(422, &one).unwrap().to_string(),
            "Route already exists"
        );
        let two = json!({"errors":[{"detail":"a"},{"detail":"b"}]});
        assert_eq!(
            Refusal::parse(422, &two).unwrap().to_string(),
            "Multiple errors occurred:\na\nb"
        );
        let token =
            json!({"errors":[{"code":1000,"title":"CF-InvalidAuthToken","detail":"Invalid Auth Token"}]});
        assert_eq!(Refusal::parse(401, &token).unwrap().to_string(), EXPIRED);
        assert_eq!(Refusal::parse(500, &json!({"errors":[]})), None);
        assert_eq!(Refusal::parse(500, &json!("text")), None);
    }
}
