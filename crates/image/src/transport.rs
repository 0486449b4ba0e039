//! One GET on the wire: TLS or the insecure list's exceptions, redirects followed by hand.
//!
//! Rules: `Authorization` goes to the host and port it was made for and, once a redirect has left them, nowhere else.
//! A redirect from HTTPS to plain HTTP is followed only to a host of the insecure list. Plain HTTP is spoken only with
//! hosts of that list, after TLS with them did not work.

use std::collections::HashSet;
use std::error::Error as StdError;
use std::sync::{Mutex, PoisonError};

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, RANGE};
use reqwest::{Certificate, Response, StatusCode, redirect};
use url::Url;

use crate::authority;
use crate::error::{ResolveError, one_line};
use crate::retry::Failure;
use crate::settings::{Settings, SettingsError, Timeouts};

const MAX_REDIRECTS: usize = 5;

/// What to GET.
pub(crate) struct Get<'a> {
    pub(crate) url: Url,
    /// What the request is about, for messages.
    pub(crate) image: &'a str,
    /// Value of `Accept`.
    pub(crate) accept: &'static str,
    pub(crate) authorization: Option<HeaderValue>,
    /// First byte wanted; 0 for all.
    pub(crate) range_from: u64,
}

/// An answer that is not a redirect.
pub(crate) struct Reply {
    pub(crate) response: Response,
    /// `host:port` that answered.
    pub(crate) host: String,
    /// Whether that is the host first asked.
    pub(crate) origin: Origin,
}

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The host asked: it may ask for credentials.
    Asked,
    /// A host a redirect led to: it gets none.
    Elsewhere,
}

/// Connections to registries and where they redirect to.
pub(crate) struct Transport {
    /// An error text when this machine has no certificate authorities at all: only TLS fails then.
    checked: Result<reqwest::Client, String>,
    unchecked: reqwest::Client,
    insecure: HashSet<String>,
    /// Hosts of the insecure list that were found to speak plain HTTP.
    plain: Mutex<HashSet<String>>,
    timeouts: Timeouts,
}

impl Transport {
    pub(crate) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let authorities = authorities(&settings.extra_ca_pem)?;
        let builder = || {
            reqwest::Client::builder()
                .redirect(redirect::Policy::none())
                .referer(false)
                .connect_timeout(settings.timeouts.connect)
                .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))
        };
        let has_extra = !authorities.is_empty();
        let checked = builder()
            .tls_certs_merge(authorities)
            .build()
            .map_err(|e| root_cause(&e));
        if let (true, Err(cause)) = (has_extra, &checked) {
            return Err(SettingsError::Http(cause.clone()));
        }
        let unchecked = builder().tls_danger_accept_invalid_certs(true).build();
        Ok(Self {
            checked,
            unchecked: unchecked.map_err(|e| SettingsError::Http(root_cause(&e)))?,
            insecure: settings.insecure_set()?,
            plain: Mutex::default(),
            timeouts: settings.timeouts,
        })
    }

    /// Whether plain HTTP with this URL's host is allowed.
    pub(crate) fn is_insecure(&self, url: &Url) -> bool {
        self.insecure.contains(&authority::of_url(url))
    }

    /// Sends a GET and follows redirects.
    pub(crate) async fn get(&self, mut get: Get<'_>) -> Result<Reply, Failure> {
        let asked = authority::of_url(&get.url);
        let mut origin = Origin::Asked;
        for _ in 0..=MAX_REDIRECTS {
            let (response, url) = self.send(&get).await?;
            let host = authority::of_url(&url);
            if !is_redirect(response.status()) {
                return Ok(Reply {
                    response,
                    host,
                    origin,
                });
            }
            get.url = self.redirected(&url, &response, get.image)?;
            if authority::of_url(&get.url) != asked {
                origin = Origin::Elsewhere;
                get.authorization = None;
            }
        }
        Err(refused(
            get.image,
            format!("following more than {MAX_REDIRECTS} redirects from {asked}"),
            "ask the registry's operator",
        ))
    }

    /// Where a redirect leads, if it may be followed.
    fn redirected(&self, from: &Url, response: &Response, image: &str) -> Result<Url, Failure> {
        let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok());
        let target = location
            .and_then(|l| from.join(l).ok())
            .filter(|u| matches!(u.scheme(), "http" | "https"));
        let Some(mut target) = target else {
            let status = format!("{} without a usable Location", response.status());
            return Err(ResolveError::Failing {
                host: authority::of_url(from),
                image: image.to_owned(),
                status,
            }
            .into());
        };
        // A user name in the URL would be turned into an Authorization header.
        let _ = target.set_username("");
        let _ = target.set_password(None);
        if target.scheme() == "http" && from.scheme() == "https" && !self.is_insecure(&target) {
            let host = authority::of_url(&target);
            let what = format!(
                "a redirect from {} to plain HTTP at {host}",
                authority::of_url(from)
            );
            return Err(refused(
                image,
                what,
                &format!("serve it over HTTPS or list {host} with --insecure-registry"),
            ));
        }
        Ok(target)
    }

    /// One request, without redirects; gives the URL it went to, which differs in scheme for a plain HTTP registry.
    async fn send(&self, get: &Get<'_>) -> Result<(Response, Url), Failure> {
        let host = authority::of_url(&get.url);
        if !self.insecure.contains(&host) {
            return match &self.checked {
                Ok(client) => Ok((self.send_with(client, &get.url, get).await?, get.url.clone())),
                Err(cause) if get.url.scheme() == "https" => Err(ResolveError::Tls {
                    host,
                    cause: cause.clone(),
                }
                .into()),
                Err(_) => Ok((
                    self.send_with(&self.unchecked, &get.url, get).await?,
                    get.url.clone(),
                )),
            };
        }
        let plain = as_plain(&get.url);
        if get.url.scheme() == "https" && !self.plain().contains(&host) {
            match self.send_with(&self.unchecked, &get.url, get).await {
                Ok(response) => return Ok((response, get.url.clone())),
                Err(failure) if !before_any_answer(&failure) => return Err(failure),
                Err(failure) => {
                    let Ok(response) = self.send_with(&self.unchecked, &plain, get).await else {
                        return Err(failure);
                    };
                    tracing::debug!(host, "insecure registry speaks plain HTTP");
                    self.plain().insert(host);
                    return Ok((response, plain));
                }
            }
        }
        let sent = self.send_with(&self.unchecked, &plain, get).await;
        if sent.is_err() {
            // It may have learnt TLS since: find out anew.
            self.plain().remove(&host);
        }
        Ok((sent?, plain))
    }

    async fn send_with(
        &self,
        client: &reqwest::Client,
        url: &Url,
        get: &Get<'_>,
    ) -> Result<Response, Failure> {
        let mut request = client.get(url.clone()).header(ACCEPT, get.accept);
        if let Some(value) = &get.authorization {
            request = request.header(AUTHORIZATION, value.clone());
        }
        if get.range_from > 0 {
            request = request.header(RANGE, format!("bytes={}-", get.range_from));
        }
        let host = authority::of_url(url);
        match tokio::time::timeout(self.timeouts.response, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(classify(&error, host)),
            Err(_) => {
                let cause = format!("no answer within {} s", self.timeouts.response.as_secs_f32());
                Err(Failure::passing(ResolveError::Unreachable { host, cause }))
            }
        }
    }

    fn plain(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.plain.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn authorities(bundles: &[Vec<u8>]) -> Result<Vec<Certificate>, SettingsError> {
    let mut all = Vec::new();
    for (bundle, number) in bundles.iter().zip(1..) {
        let unusable = |cause: String| SettingsError::CertificateAuthority { number, cause };
        let found = Certificate::from_pem_bundle(bundle).map_err(|e| unusable(root_cause(&e)))?;
        if found.is_empty() {
            return Err(unusable("it holds no certificate".to_owned()));
        }
        all.extend(found);
    }
    Ok(all)
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The same host and port over plain HTTP.
fn as_plain(url: &Url) -> Url {
    let mut plain = url.clone();
    let port = url.port_or_known_default();
    // Both cannot fail: the URL has a host, and http is as special a scheme as https.
    let _ = plain.set_scheme("http");
    let _ = plain.set_port(port);
    plain
}

fn refused(image: &str, what: String, remedy: &str) -> Failure {
    ResolveError::Unsafe {
        image: image.to_owned(),
        what,
        remedy: remedy.to_owned(),
    }
    .into()
}

fn before_any_answer(failure: &Failure) -> bool {
    matches!(
        *failure.error,
        ResolveError::Tls { .. } | ResolveError::Unreachable { .. }
    )
}

/// TLS refusals will not pass by waiting; anything else on the network may.
pub(crate) fn classify(error: &reqwest::Error, host: String) -> Failure {
    match find_tls(error) {
        Some(tls @ rustls::Error::InvalidCertificate(_)) => ResolveError::Tls {
            host,
            cause: one_line(&format!("x509: {tls}")),
        }
        .into(),
        Some(rustls::Error::InvalidMessage(_)) => ResolveError::Tls {
            host,
            cause: "it does not speak TLS".to_owned(),
        }
        .into(),
        Some(tls) => ResolveError::Tls {
            host,
            cause: one_line(&tls.to_string()),
        }
        .into(),
        None => Failure::passing(ResolveError::Unreachable {
            host,
            cause: root_cause(error),
        }),
    }
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

fn find_tls(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref() {
            return Some(tls);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_keeps_the_port() {
        for (url, want) in [
            ("https://a/v2/", "http://a:443/v2/"),
            ("https://a:5000/", "http://a:5000/"),
        ] {
            assert_eq!(as_plain(&url.parse().unwrap()).as_str(), want);
        }
    }
}
