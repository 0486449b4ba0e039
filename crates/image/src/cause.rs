//! What went wrong inside the HTTP library, in words for users.

use std::error::Error as StdError;

use crate::addresses::RefusedAddress;
use crate::error::{ResolveError, one_line};
use crate::resolver::Unresolved;
use crate::retry::Failure;
use crate::transport::refused_address;

/// TLS refusals will not pass by waiting; anything else on the network may.
pub(crate) fn classify(error: &reqwest::Error, host: String, image: &str) -> Failure {
    if let Some(refused) = find::<RefusedAddress>(error) {
        return refused_address(image, host, refused).into();
    }
    let image = image.to_owned();
    match find::<rustls::Error>(error) {
        Some(tls @ rustls::Error::InvalidCertificate(_)) => ResolveError::Tls {
            host,
            image,
            cause: one_line(&format!("x509: {tls}")),
        }
        .into(),
        Some(rustls::Error::InvalidMessage(_)) => ResolveError::Tls {
            host,
            image,
            cause: "it does not speak TLS".to_owned(),
        }
        .into(),
        Some(tls) => ResolveError::Tls {
            host,
            image,
            cause: one_line(&tls.to_string()),
        }
        .into(),
        None => Failure::passing(ResolveError::Unreachable {
            image,
            cause: network_cause(error, &host),
            host,
        }),
    }
}

fn network_cause(error: &reqwest::Error, host: &str) -> String {
    if let Some(unresolved) = find::<Unresolved>(error) {
        return one_line(&unresolved.to_string());
    }
    if let Some(invalid) = find::<rustls::pki_types::InvalidDnsNameError>(error) {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        return one_line(&format!("the name {name} does not resolve ({invalid})"));
    }
    root_cause(error)
}

/// Steps down a chain of causes. `io::Error` hides the error it wraps from `source`, so it is opened by hand.
fn next_cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
    {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

fn find<E: StdError + 'static>(error: &reqwest::Error) -> Option<&E> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = next_cause(error);
    }
    None
}

/// The innermost cause: reqwest's outer ones print the URL, whose query may hold a signature.
pub(crate) fn root_cause(error: &reqwest::Error) -> String {
    let Some(mut cause) = error.source() else {
        return if error.is_timeout() {
            "timed out".to_owned()
        } else {
            "the request failed".to_owned()
        };
    };
    while let Some(inner) = next_cause(cause) {
        cause = inner;
    }
    one_line(&cause.to_string())
}
