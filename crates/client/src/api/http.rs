//! One exchange over HTTP: addresses, limits, certificates, warnings.
//!
//! Plain and encrypted addresses have a client each: a plain one needs no certificates, and reading those of the
//! machine costs more than a whole local request.

use std::error::Error as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use reqwest::{Client, Method, Url, redirect};
use serde_json::Value;

use super::trace::Tracer;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::ui::Ui;

/// The largest reply that is read.
const MAX_REPLY: usize = 256 << 20;
/// How much of a strange reply is shown.
const MAX_SHOWN: usize = 2000;

/// What a request carries.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// Nothing.
    Empty,
    /// JSON.
    Json(&'a Value),
    /// A manifest.
    Yaml(&'a str),
    /// A form, for the login server; never shown.
    Form(&'a [(&'a str, &'a str)]),
    /// Bytes of the user.
    Bytes(&'a [u8]),
}

/// A request.
pub struct Exchange<'a> {
    /// Method.
    pub method: Method,
    /// Address.
    pub url: String,
    /// Headers beyond the usual ones.
    pub headers: &'a [(String, String)],
    /// Body.
    pub body: Body<'a>,
    /// Bearer token.
    pub token: Option<String>,
}

impl Exchange<'_> {
    /// A GET by nobody.
    pub fn get(url: String) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: &[],
            body: Body::Empty,
            token: None,
        }
    }
}

/// A reply, whatever its status.
#[derive(Debug)]
pub struct Reply {
    /// Where it came from.
    pub url: String,
    /// Status.
    pub status: u16,
    /// The status line after the protocol, e.g. `200 OK`.
    pub reason: String,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Vec<u8>,
}

impl Reply {
    /// A header, or "".
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as JSON; an empty body is `{}`.
    ///
    /// # Errors
    /// When the body is something else.
    pub fn json(&self) -> Result<Value> {
        if self.body.is_empty() {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        serde_json::from_slice(&self.body).map_err(|_| self.unexpected())
    }

    /// The error for a reply that no API gives.
    pub fn unexpected(&self) -> Error {
        let text = String::from_utf8_lossy(&self.body);
        let detail = text.chars().take(MAX_SHOWN).collect();
        Error::Unexpected {
            status: self.status,
            request_id: self.header("x-vcap-request-id").to_owned(),
            detail,
        }
    }
}

/// The clients.
pub struct Http {
    ui: Arc<Ui>,
    program: String,
    agent: String,
    skip_ssl_validation: AtomicBool,
    plain: OnceLock<Client>,
    strict: OnceLock<Client>,
    trusting: OnceLock<Client>,
    tracer: Tracer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    Plain,
    Strict,
    Anyone,
}

impl Http {
    /// Clients for this environment; nothing is opened yet.
    pub fn new(ui: Arc<Ui>, environment: &Environment, skip_ssl_validation: bool) -> Self {
        Self {
            tracer: Tracer::new(ui.clone(), &environment.trace),
            ui,
            program: environment.program.clone(),
            agent: format!("slipway/{}", environment.version),
            skip_ssl_validation: AtomicBool::new(skip_ssl_validation),
            plain: OnceLock::new(),
            strict: OnceLock::new(),
            trusting: OnceLock::new(),
        }
    }

    /// Accepts any certificate from now on, or no longer.
    pub fn skip_ssl_validation(&self, skip: bool) {
        self.skip_ssl_validation.store(skip, Ordering::Relaxed);
    }

    /// Shows requests from now on.
    pub fn trace_on_screen(&self) {
        self.tracer.on_screen();
    }

    /// Sends a request once and reads its reply; prints the warnings that come with it.
    ///
    /// # Errors
    /// When nothing answers, or too much.
    pub async fn send(&self, exchange: &Exchange<'_>) -> Result<Reply> {
        let url = Url::parse(&exchange.url)
            .map_err(|e| Error::message(format!("'{}' is no URL: {e}", exchange.url)))?;
        let request = self.request(exchange, url)?;
        self.tracer.request(exchange);
        let reply = self.receive(request, exchange).await?;
        self.tracer.reply(&reply);
        for warning in reply.headers.get_all("x-cf-warnings") {
            for text in warning
                .to_str()
                .unwrap_or_default()
                .split(',')
                .filter(|text| !text.is_empty())
            {
                self.ui.warn(&decoded(text));
            }
        }
        Ok(reply)
    }

    fn request(&self, exchange: &Exchange<'_>, url: Url) -> Result<reqwest::RequestBuilder> {
        let mut request = self
            .client(&url)?
            .request(exchange.method.clone(), url)
            .header(ACCEPT, "application/json");
        if let Some(token) = &exchange.token {
            request = request.header(AUTHORIZATION, format!("bearer {token}"));
        }
        request = match exchange.body {
            Body::Empty => request.header(CONTENT_TYPE, "application/json"),
            Body::Json(value) => request.json(value),
            Body::Yaml(text) => request
                .header(CONTENT_TYPE, "application/x-yaml")
                .body(text.to_owned()),
            Body::Form(fields) => request.form(fields),
            Body::Bytes(bytes) => request
                .header(CONTENT_TYPE, "application/json")
                .body(bytes.to_vec()),
        };
        // The user's headers replace the usual ones.
        let mut own = HeaderMap::new();
        for (name, value) in exchange.headers {
            let name = name.parse::<reqwest::header::HeaderName>();
            let value = value.parse::<reqwest::header::HeaderValue>();
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(Error::message(
                    "a header given with -H is not of the form 'Name: value'",
                ));
            };
            own.append(name, value);
        }
        Ok(request.headers(own))
    }

    async fn receive(&self, request: reqwest::RequestBuilder, exchange: &Exchange<'_>) -> Result<Reply> {
        let failed = |error: reqwest::Error| self.unreachable(exchange, &error);
        let mut response = request.send().await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_REPLY {
                return Err(Error::message(format!(
                    "the reply of {} is larger than {MAX_REPLY} bytes",
                    exchange.url
                )));
            }
        }
        Ok(Reply {
            url: exchange.url.clone(),
            status: response.status().as_u16(),
            reason: response.status().to_string(),
            headers: response.headers().clone(),
            body,
        })
    }

    fn unreachable(&self, exchange: &Exchange<'_>, error: &reqwest::Error) -> Error {
        let mut text = String::new();
        let mut cause = error.source();
        while let Some(deeper) = cause {
            text = format!("{text}: {deeper}");
            cause = deeper.source();
        }
        let address = exchange.url.split('?').next().unwrap_or_default().to_owned();
        if text.contains("certificate") || text.contains("UnknownIssuer") {
            return Error::Certificate {
                url: address,
                program: self.program.clone(),
            };
        }
        let what = if error.is_timeout() {
            "no answer in time from"
        } else {
            "cannot reach"
        };
        Error::Network {
            text: format!("{what} {address}{text}"),
        }
    }

    fn client(&self, url: &Url) -> Result<&Client> {
        let trust = match url.scheme() {
            "http" => Trust::Plain,
            _ if self.skip_ssl_validation.load(Ordering::Relaxed) => Trust::Anyone,
            _ => Trust::Strict,
        };
        let cell = match trust {
            Trust::Plain => &self.plain,
            Trust::Strict => &self.strict,
            Trust::Anyone => &self.trusting,
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let client = self.build(trust, url)?;
        Ok(cell.get_or_init(|| client))
    }

    fn build(&self, trust: Trust, url: &Url) -> Result<Client> {
        let mut builder = Client::builder()
            .user_agent(&self.agent)
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(60))
            .timeout(Duration::from_secs(600));
        if trust != Trust::Strict {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        if trust == Trust::Plain {
            // This client does not check certificates, so it must never be led to where they matter.
            builder = builder.redirect(redirect::Policy::custom(|attempt| {
                let plain = attempt.url().scheme() == "http" && attempt.previous().len() < 10;
                if plain { attempt.follow() } else { attempt.stop() }
            }));
        }
        if is_loopback(url) {
            builder = builder.no_proxy();
        }
        builder.build().map_err(|error| {
            let cause = error
                .source()
                .map(|cause| format!(": {cause}"))
                .unwrap_or_default();
            Error::Network {
                text: format!("cannot prepare a connection to {url}: {error}{cause}"),
            }
        })
    }
}

/// A proxy cannot reach this machine's own addresses; Go's client, and so `cf`, leaves it out too.
fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => {
            host.ends_with(".localhost") || host.parse().is_ok_and(|ip: std::net::Ipv4Addr| ip.is_loopback())
        }
        None => false,
    }
}

/// Undoes the query encoding of a warning.
fn decoded(text: &str) -> String {
    let query = format!("http://x/?w={}", text.trim());
    let url = Url::parse(&query).ok();
    let pair = url.as_ref().and_then(|url| url.query_pairs().next());
    pair.map(|(_, value)| value.into_owned())
        .unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_decoded() {
        assert_eq!(decoded("a%2Cb+c%21"), "a,b c!");
        assert_eq!(decoded(" plain"), "plain");
    }

    #[test]
    fn local_addresses_need_no_proxy() {
        for (url, local) in [
            ("http://127.0.0.1:8080", true),
            ("http://localhost", true),
            ("http://api.localhost:9", true),
            ("http://[::1]:80", true),
            ("https://api.example", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), local, "{url}");
        }
    }
}
