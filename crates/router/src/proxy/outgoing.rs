//! The request as the app gets it, and as it can be sent once more.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{PathAndQuery, Scheme as UriScheme};
use http::{Method, Request, Uri, request};
use hyper::body::{Body, Incoming};

use super::hygiene;
use crate::access_log::Arrival;
use crate::body::{Gate, RequestBody, Upload};
use crate::client::{Client, Scheme};
use crate::instance::{Instance, Protocol};
use crate::names;
use crate::settings::Timeouts;

pub(super) struct Outgoing {
    pub(super) headers: HeaderMap,
    /// Path and query only.
    pub(super) uri: Uri,
    pub(super) host: HeaderValue,
    /// The protocol to switch to.
    pub(super) upgrade: Option<HeaderValue>,
    pub(super) upload: Option<Arc<Upload>>,
    method: Method,
    body: RequestBody,
    gated: bool,
}

impl Outgoing {
    pub(super) fn new(parts: request::Parts, body: Incoming, host: HeaderValue, timeouts: &Timeouts) -> Self {
        let mut headers = parts.headers;
        let upgrade = hygiene::wanted_upgrade(parts.version, &headers);
        hygiene::clean_request(&mut headers);
        let expects = headers.get(header::EXPECT);
        let expects = expects.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let (body, upload) = if body.is_end_stream() {
            (RequestBody::Empty, None)
        } else {
            let upload = Arc::new(Upload::default());
            let gate = expects.then(|| Gate::new(timeouts.expect_continue));
            (
                RequestBody::Stream {
                    incoming: body,
                    upload: upload.clone(),
                    gate,
                },
                Some(upload),
            )
        };
        headers.insert(header::HOST, host.clone());
        if let Some(protocol) = &upgrade {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, protocol.clone());
        }
        let gated = expects && upload.is_some();
        Self {
            headers,
            uri: origin_form(parts.uri),
            host,
            upgrade,
            upload,
            method: parts.method,
            body,
            gated,
        }
    }

    /// Says who asked, how and when.
    pub(super) fn introduce(&mut self, client: &Client, arrival: &Arrival) {
        let before = self
            .headers
            .get_all(&names::FORWARDED_FOR)
            .iter()
            .map(HeaderValue::as_bytes);
        let mut chain: Vec<&[u8]> = before.collect();
        if chain.is_empty() {
            self.headers.insert(&names::FORWARDED_FOR, client.ip.clone());
        } else {
            chain.push(client.ip.as_bytes());
            if let Ok(chain) = HeaderValue::from_bytes(&chain.join(b", ".as_slice())) {
                self.headers.insert(&names::FORWARDED_FOR, chain);
            }
        }
        let proto = match client.scheme {
            Scheme::Http => HeaderValue::from_static("http"),
            Scheme::Https => HeaderValue::from_static("https"),
        };
        self.headers.entry(&names::FORWARDED_PROTO).or_insert(proto);
        let start = || {
            let millis = arrival
                .at
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_millis();
            HeaderValue::from(u64::try_from(millis).unwrap_or(u64::MAX))
        };
        self.headers.entry(&names::REQUEST_START).or_insert_with(start);
    }

    /// Tells the app which instance of it is asked.
    pub(super) fn address_to(&mut self, instance: &Instance) {
        if let Some(identity) = &instance.identity {
            self.headers
                .insert(&names::CF_APPLICATION_ID, identity.app_guid.clone());
            self.headers
                .insert(&names::CF_INSTANCE_ID, identity.instance_guid.clone());
            self.headers
                .insert(&names::CF_INSTANCE_INDEX, identity.index_text.clone());
        }
    }

    /// What to speak to `instance`: switching protocols exists in HTTP/1.1 only.
    pub(super) fn protocol(&self, instance: &Instance) -> Protocol {
        if self.upgrade.is_some() {
            Protocol::Http1
        } else {
            instance.protocol
        }
    }

    /// Waits for the backend's consent before the body is sent.
    pub(super) fn expects(&self) -> bool {
        self.gated
    }

    /// Sending it twice does no more than sending it once, and nothing of it is used up by sending.
    pub(super) fn replayable(&self) -> bool {
        let idempotent = matches!(
            self.method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
        ) || self.headers.contains_key(&names::IDEMPOTENCY_KEY)
            || self.headers.contains_key(&names::X_IDEMPOTENCY_KEY);
        self.upload.is_none() && self.upgrade.is_none() && idempotent
    }

    /// The request for a connection of `protocol`. A copy when it can be replayed, else the request itself: then it is
    /// gone unless [`Outgoing::restore`] brings it back.
    pub(super) fn request(&mut self, protocol: Protocol) -> Request<RequestBody> {
        let headers = if self.replayable() {
            self.headers.clone()
        } else {
            std::mem::take(&mut self.headers)
        };
        let mut request = Request::new(std::mem::replace(&mut self.body, RequestBody::Empty));
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = headers;
        match protocol {
            Protocol::Http1 => *request.uri_mut() = self.uri.clone(),
            Protocol::Http2 => {
                request.headers_mut().remove(header::HOST);
                *request.uri_mut() = self.absolute_uri();
                *request.version_mut() = http::Version::HTTP_2;
            }
        }
        if let Some(upload) = self.upload.as_ref().filter(|_| self.gated) {
            let upload = upload.clone();
            hyper::ext::on_informational(&mut request, move |response| {
                if response.status() == http::StatusCode::CONTINUE {
                    upload.proceed();
                }
            });
        }
        request
    }

    /// Takes back a request that was not sent.
    pub(super) fn restore(&mut self, request: Request<RequestBody>) {
        let (parts, body) = request.into_parts();
        self.body = body;
        if !self.replayable() {
            self.headers = parts.headers;
            self.headers.insert(header::HOST, self.host.clone());
        }
    }

    fn absolute_uri(&self) -> Uri {
        let mut parts = self.uri.clone().into_parts();
        parts.scheme = Some(UriScheme::HTTP);
        parts.authority = self.host.to_str().ok().and_then(|host| host.parse().ok());
        Uri::from_parts(parts).unwrap_or_else(|_| self.uri.clone())
    }
}

fn origin_form(uri: Uri) -> Uri {
    if uri.scheme().is_none() && uri.authority().is_none() {
        return uri;
    }
    uri.into_parts()
        .path_and_query
        .unwrap_or_else(|| PathAndQuery::from_static("/"))
        .into()
}
