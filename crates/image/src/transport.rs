//! One GET on the wire: TLS or the insecure list's exceptions, redirects followed by hand.
//!
//! Rules: `Authorization` goes to the host and port it was made for and, once a redirect has left them, nowhere else.
//! A redirect from HTTPS to plain HTTP is followed only to a host of the insecure list. Plain HTTP is spoken only with
//! hosts of that list, after TLS with them did not work. Every host is judged before it is connected to: its name by
//! the rules, its address by the address policy.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, redirect};
use rustls::ClientConfig;
use url::Url;

use crate::addresses::{AddressPolicy, RefusedAddress, Standing};
use crate::authority;
use crate::cause::{classify, root_cause};
use crate::document::Document;
use crate::error::ResolveError;
use crate::policy::{Place, Refusal, Rules};
use crate::proxies::Proxies;
use crate::resolver::Resolver;
use crate::retry::Failure;
use crate::settings::{SettingsError, Timeouts};
use crate::trust::trust;

const MAX_REDIRECTS: usize = 5;

/// What to ask for.
pub(crate) struct Get<'a> {
    pub(crate) url: Url,
    /// What the request is about, for messages.
    pub(crate) image: &'a str,
    /// Value of `Accept`.
    pub(crate) accept: &'static str,
    pub(crate) authorization: Option<HeaderValue>,
    /// First byte wanted; 0 for all.
    pub(crate) range_from: u64,
    pub(crate) verb: Verb,
}

/// How it is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Verb {
    /// GET, redirects followed.
    Get,
    /// HEAD; a redirect is an answer too.
    Head,
    /// POST of JSON with further headers; a redirect is an answer too.
    Post(Vec<(&'static str, HeaderValue)>, &'static str),
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
    named: Pair,
    strangers: Pair,
    proxied: Option<Pair>,
    proxies: Proxies,
    rules: Rules,
    addresses: Arc<AddressPolicy>,
    insecure: HashSet<String>,
    /// Hosts of the insecure list that were found to speak plain HTTP.
    plain: Mutex<HashSet<String>>,
    timeouts: Timeouts,
}

/// Clients with one way to find addresses.
struct Pair {
    /// An error text when this machine has no certificate authorities at all: only TLS fails then.
    checked: Result<reqwest::Client, String>,
    unchecked: reqwest::Client,
}

impl Pair {
    fn new(
        trust: &Result<ClientConfig, String>,
        resolver: Resolver,
        proxies: Option<&Proxies>,
        timeouts: &Timeouts,
    ) -> Result<Self, SettingsError> {
        let resolver = Arc::new(resolver);
        let builder = || {
            let builder = reqwest::Client::builder()
                .redirect(redirect::Policy::none())
                .referer(false)
                .connect_timeout(timeouts.connect)
                .dns_resolver(resolver.clone())
                .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")));
            match proxies {
                Some(proxies) => proxies.configure(builder),
                None => builder.no_proxy(),
            }
        };
        let checked = match trust {
            Ok(config) => {
                let client = builder().tls_backend_preconfigured(config.clone()).build();
                Ok(client.map_err(|e| SettingsError::Http(root_cause(&e)))?)
            }
            Err(cause) => Err(cause.clone()),
        };
        let unchecked = builder().tls_danger_accept_invalid_certs(true).build();
        Ok(Self {
            checked,
            unchecked: unchecked.map_err(|e| SettingsError::Http(root_cause(&e)))?,
        })
    }
}

impl Transport {
    pub(crate) fn new(document: &Document, timeouts: &Timeouts) -> Result<Self, SettingsError> {
        // Reading all authorities takes longer than everything else: it is done once.
        let trust = trust(&document.settings.ca_certificates)?;
        let addresses = Arc::new(document.addresses.clone());
        let proxies = document.proxies.clone();
        let direct = |standing| {
            let resolver = Resolver::judging(addresses.clone(), standing);
            Pair::new(&trust, resolver, None, timeouts)
        };
        // A proxy resolves names itself: what it finds is its own policy's affair. Only its own name is resolved here.
        let proxied = proxies
            .any()
            .then(|| Pair::new(&trust, Resolver::trusting(), Some(&proxies), timeouts))
            .transpose()?;
        Ok(Self {
            named: direct(Standing::Named)?,
            strangers: direct(Standing::Stranger)?,
            proxied,
            proxies,
            rules: document.rules.clone(),
            addresses,
            insecure: document.insecure.clone(),
            plain: Mutex::default(),
            timeouts: *timeouts,
        })
    }

    /// Whether plain HTTP with this URL's host is allowed.
    pub(crate) fn is_insecure(&self, url: &Url) -> bool {
        self.insecure.contains(&authority::of_url(url))
    }

    /// Sends a request and follows the redirects of a GET.
    pub(crate) async fn get(&self, mut get: Get<'_>) -> Result<Reply, Failure> {
        let asked = authority::of_url(&get.url);
        let place = Place::of_url(&get.url);
        let mut origin = Origin::Asked;
        for _ in 0..=MAX_REDIRECTS {
            let (response, url) = self.send(&get).await?;
            let host = authority::of_url(&url);
            if !is_redirect(response.status()) || !matches!(get.verb, Verb::Get) {
                return Ok(Reply {
                    response,
                    host,
                    origin,
                });
            }
            get.url = self.redirected(&url, &response, get.image)?;
            if let Some(place) = &place {
                self.judge_host(place, &get.url, get.image)?;
            }
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

    /// Whether the registry at `asked` may lead to this URL's host.
    pub(crate) fn judge_host(&self, asked: &Place, url: &Url, image: &str) -> Result<(), ResolveError> {
        let Some(target) = Place::of_url(url) else {
            return Ok(());
        };
        self.rules
            .judge_host(asked, &target)
            .map_err(|refusal| ResolveError::Refused {
                image: image.to_owned(),
                why: format!("{} leads to {}, and {refusal}", asked.host, target.host),
                remedy: match refusal {
                    Refusal::Denied { .. } => "an administrator can change the deny rule".to_owned(),
                    Refusal::NotAllowed { .. } => {
                        format!("an administrator can add {} to redirects", target.host)
                    }
                },
            })
    }

    /// The clients for a URL, if its host may be connected to as far as its name tells.
    fn pair(&self, url: &Url, image: &str) -> Result<&Pair, Failure> {
        if let Err(refused) = self.addresses.judge_literal(url) {
            return Err(refused_address(image, authority::of_url(url), &refused).into());
        }
        match (&self.proxied, self.addresses.standing(url)) {
            (Some(proxied), _) if self.proxies.proxy_of(url).is_some() => Ok(proxied),
            (_, Standing::Named) => Ok(&self.named),
            (_, Standing::Stranger) => Ok(&self.strangers),
        }
    }

    /// One request, without redirects; gives the URL it went to, which differs in scheme for a plain HTTP registry.
    async fn send(&self, get: &Get<'_>) -> Result<(Response, Url), Failure> {
        let host = authority::of_url(&get.url);
        if !self.insecure.contains(&host) {
            let pair = self.pair(&get.url, get.image)?;
            return match &pair.checked {
                Ok(client) => Ok((self.send_with(client, &get.url, get).await?, get.url.clone())),
                Err(cause) if get.url.scheme() == "https" => Err(ResolveError::Tls {
                    host,
                    image: get.image.to_owned(),
                    cause: cause.clone(),
                }
                .into()),
                Err(_) => Ok((
                    self.send_with(&pair.unchecked, &get.url, get).await?,
                    get.url.clone(),
                )),
            };
        }
        let plain = as_plain(&get.url);
        if get.url.scheme() == "https" && !self.plain().contains(&host) {
            let client = &self.pair(&get.url, get.image)?.unchecked;
            match self.send_with(client, &get.url, get).await {
                Ok(response) => return Ok((response, get.url.clone())),
                Err(failure) if !before_any_answer(&failure) => return Err(failure),
                Err(failure) => {
                    let client = &self.pair(&plain, get.image)?.unchecked;
                    let Ok(response) = self.send_with(client, &plain, get).await else {
                        return Err(failure);
                    };
                    tracing::debug!(host, "insecure registry speaks plain HTTP");
                    self.plain().insert(host);
                    return Ok((response, plain));
                }
            }
        }
        let client = &self.pair(&plain, get.image)?.unchecked;
        let sent = self.send_with(client, &plain, get).await;
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
        let method = match get.verb {
            Verb::Get => Method::GET,
            Verb::Head => Method::HEAD,
            Verb::Post(..) => Method::POST,
        };
        let mut request = client.request(method, url.clone()).header(ACCEPT, get.accept);
        if let Verb::Post(headers, body) = &get.verb {
            for (name, value) in headers {
                request = request.header(*name, value.clone());
            }
            request = request.body(*body);
        }
        if let Some(value) = &get.authorization {
            request = request.header(AUTHORIZATION, value.clone());
        }
        if get.range_from > 0 {
            request = request.header(RANGE, format!("bytes={}-", get.range_from));
        }
        let host = authority::of_url(url);
        match tokio::time::timeout(self.timeouts.response, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(classify(&error, host, get.image)),
            Err(_) => {
                let cause = format!("no answer within {} s", self.timeouts.response.as_secs_f32());
                let image = get.image.to_owned();
                Err(Failure::passing(ResolveError::Unreachable { host, image, cause }))
            }
        }
    }

    fn plain(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.plain.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An address refused, in words that are the same whether or not anything listens there.
pub(crate) fn refused_address(image: &str, host: String, refused: &RefusedAddress) -> ResolveError {
    let remedy = match refused {
        RefusedAddress::Class { address, .. } => format!(
            "name a registry with a public address, or ask an administrator to list {address} under addresses.allow"
        ),
        RefusedAddress::Denied { .. } => {
            "name another registry, or ask an administrator to change addresses.deny".to_owned()
        }
    };
    ResolveError::Refused {
        image: image.to_owned(),
        why: format!("{host} may not be connected to, {refused}"),
        remedy,
    }
}

pub(crate) fn is_redirect(status: StatusCode) -> bool {
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
