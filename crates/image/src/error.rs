//! What can go wrong between a reference and its bytes, each in one line with cause and remedy.
//!
//! Texts go to users and logs: they name hosts, repositories, digests and the registry's error codes, and never a
//! URL's query, a header, a password or free text sent by a registry.

use std::time::Duration;

use model::Platform;

/// Whether a refused request carried credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// None were given.
    Anonymous,
    /// A user name and password were given.
    WithCredentials,
}

/// Why an image or blob cannot be had. `image` fields hold `HOST/NAME` with tag or digest; `host` fields `HOST:PORT`.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ResolveError {
    /// The registry does not know it.
    #[error(
        "{what} was not found in the registry; check the name and the tag, or push the image there first"
    )]
    NotFound {
        /// The image, or a blob of it.
        what: String,
    },
    /// 401 or 403, or the token server refused.
    #[error("{}", unauthorized(image, *access))]
    Unauthorized {
        /// What was asked for.
        image: String,
        /// Whether credentials were sent.
        access: Access,
    },
    /// 429 after all retries, or with a longer `Retry-After` than is waited for.
    #[error("{}", rate_limited(host, image, *retry_after))]
    RateLimited {
        /// Who limits.
        host: String,
        /// What was asked for.
        image: String,
        /// What the registry demanded.
        retry_after: Option<Duration>,
    },
    /// The certificate is not trusted, or the host speaks no TLS.
    #[error(
        "{image} cannot be fetched: TLS with {host} failed ({cause}); add the CA with --registry-ca or list {host} with --insecure-registry"
    )]
    Tls {
        /// `HOST:PORT`.
        host: String,
        /// What was asked for.
        image: String,
        /// From the TLS library.
        cause: String,
    },
    /// No connection, or no answer in time.
    #[error(
        "{image} cannot be fetched: {host} cannot be reached ({cause}); check the registry's name, its port, the network and the proxy settings"
    )]
    Unreachable {
        /// `HOST:PORT`.
        host: String,
        /// What was asked for.
        image: String,
        /// From the network.
        cause: String,
    },
    /// The registry answers with an error of its own.
    #[error("registry {host} answered {status} for {image}; try again later, or ask the registry's operator")]
    Failing {
        /// `HOST:PORT`.
        host: String,
        /// What was asked for.
        image: String,
        /// HTTP status and the registry's error code.
        status: String,
    },
    /// Following what the registry says would not be safe.
    #[error("{what} for {image} was refused; {remedy}")]
    Unsafe {
        /// What was asked for.
        image: String,
        /// What was about to happen.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// The operator's rules or address policy are against it.
    #[error("{image} is refused: {why}; {remedy}")]
    Refused {
        /// What was asked for.
        image: String,
        /// The rule or the address.
        why: String,
        /// What a user or an administrator can do.
        remedy: String,
    },
    /// The image exists, for other platforms.
    #[error(
        "{image} has no image for {wanted}, it has {}; push one built for {wanted}",
        list(available)
    )]
    WrongPlatform {
        /// What was asked for.
        image: String,
        /// The platform cells run.
        wanted: Platform,
        /// The platforms it was built for, attestations left out.
        available: Vec<Platform>,
    },
    /// Docker image manifest version 2, schema 1.
    #[error(
        "{image} has a schema 1 manifest, a format retired in 2017; pull and push it again with a current tool"
    )]
    Schema1 {
        /// What was asked for.
        image: String,
    },
    /// Bytes that break the format, or do not match their digest or size.
    #[error("{image} is malformed: {what}; build and push it again")]
    Malformed {
        /// What was asked for.
        image: String,
        /// What is wrong.
        what: String,
    },
    /// Well-formed, and not a container image this platform runs.
    #[error("{image} is not supported: {what}; push a container image with ordinary layers")]
    Unsupported {
        /// What was asked for.
        image: String,
        /// What is not supported, by name.
        what: String,
    },
}

/// The kinds of [`ResolveError`], for callers that choose a message or a status by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each kind is the variant of the same name")]
pub enum ErrorKind {
    NotFound,
    Unauthorized,
    RateLimited,
    Tls,
    Unreachable,
    Failing,
    Unsafe,
    Refused,
    WrongPlatform,
    Schema1,
    Malformed,
    Unsupported,
}

impl ResolveError {
    /// Which kind this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Unauthorized { .. } => ErrorKind::Unauthorized,
            Self::RateLimited { .. } => ErrorKind::RateLimited,
            Self::Tls { .. } => ErrorKind::Tls,
            Self::Unreachable { .. } => ErrorKind::Unreachable,
            Self::Failing { .. } => ErrorKind::Failing,
            Self::Unsafe { .. } => ErrorKind::Unsafe,
            Self::Refused { .. } => ErrorKind::Refused,
            Self::WrongPlatform { .. } => ErrorKind::WrongPlatform,
            Self::Schema1 { .. } => ErrorKind::Schema1,
            Self::Malformed { .. } => ErrorKind::Malformed,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
        }
    }

    /// Whether the same request may succeed later with nothing changed by the user. Such a failure must not count
    /// against the app.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::RateLimited | ErrorKind::Unreachable | ErrorKind::Failing
        )
    }
}

/// Registries hide what one may not see, so an anonymous refusal may also mean that nothing is there.
fn unauthorized(image: &str, access: Access) -> String {
    match access {
        Access::Anonymous => format!(
            "access to {image} was refused; it does not exist or it is private: check the name, or give a user name \
             and password (cf push --docker-username, with CF_DOCKER_PASSWORD set)"
        ),
        Access::WithCredentials => format!(
            "access to {image} was refused with the user name and password given; check them, the name, and that \
             the user may pull it"
        ),
    }
}

fn rate_limited(host: &str, image: &str, retry_after: Option<Duration>) -> String {
    let when = match retry_after {
        Some(pause) => format!("try again in {} s", pause.as_secs()),
        None => "try again later".to_owned(),
    };
    format!(
        "registry {host} limits the rate of requests (429) for {image}; {when}, or pull with a user name that has a higher limit"
    )
}

pub(crate) fn list(platforms: &[Platform]) -> String {
    /// A hostile index could name thousands.
    const SHOWN: usize = 20;
    if platforms.is_empty() {
        return "none for any platform".to_owned();
    }
    let mut names: Vec<String> = platforms.iter().take(SHOWN).map(ToString::to_string).collect();
    if platforms.len() > SHOWN {
        names.push(format!("{} more", platforms.len() - SHOWN));
    }
    names.join(", ")
}

/// Foreign text for one line of a message: no control characters, a bounded length.
pub(crate) fn one_line(text: &str) -> String {
    const SHOWN: usize = 200;
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SHOWN)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_with_cause_and_remedy() {
        let platform = |architecture: &str| Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: String::new(),
        };
        let wrong = ResolveError::WrongPlatform {
            image: "reg/a:1".to_owned(),
            wanted: platform("amd64"),
            available: vec![platform("arm64"), platform("s390x")],
        };
        assert_eq!(
            wrong.to_string(),
            "reg/a:1 has no image for linux/amd64, it has linux/arm64, linux/s390x; push one built for linux/amd64"
        );
        let tls = ResolveError::Tls {
            host: "reg:443".to_owned(),
            image: "reg/a:1".to_owned(),
            cause: "x".to_owned(),
        };
        assert!(
            tls.to_string()
                .ends_with("add the CA with --registry-ca or list reg:443 with --insecure-registry")
        );
        let limited = ResolveError::RateLimited {
            host: "reg:443".to_owned(),
            image: "reg/a".to_owned(),
            retry_after: Some(Duration::from_secs(60)),
        };
        assert!(limited.to_string().contains("try again in 60 s"));
        assert!(limited.is_transient() && !tls.is_transient());
    }

    #[test]
    fn foreign_text_stays_on_its_line() {
        assert_eq!(one_line("a\r\nb\u{1b}[31m"), "a  b [31m");
        assert_eq!(one_line(&"x".repeat(1000)).len(), 200);
    }
}
