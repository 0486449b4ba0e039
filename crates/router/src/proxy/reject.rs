//! What the router says itself: status, `X-Cf-RouterError` and body of every refusal, word for word as the reference
//! router says it.

use http::header::{self, HeaderValue};
use http::{HeaderName, Response, StatusCode, Version};

use crate::access_log::Record;
use crate::body::ResponseBody;
use crate::names;

/// Why a request gets no answer of an app.
#[derive(Debug)]
pub(super) enum Rejection {
    UnknownRoute(HeaderValue),
    NoEndpoints(HeaderValue),
    ConnectionLimit(HeaderValue),
    EmptyHost,
    InvalidInstance {
        header: &'static HeaderName,
        value: HeaderValue,
    },
    UnknownInstance {
        index: String,
        guid: Box<str>,
        host: HeaderValue,
    },
    /// What the backend did, in a few words without addresses.
    EndpointFailure(String),
    HeadTooLarge,
    Malformed(&'static str),
    MethodNotAllowed,
    /// The client broke off its own request.
    Cancelled,
}

struct Words {
    status: u16,
    error: String,
    /// Without the line break at its end.
    body: String,
    cache: Option<&'static str>,
}

const NEVER: Option<&str> = Some("no-cache, no-store");
const SHORT: Option<&str> = Some("public,max-age=2");

impl Rejection {
    /// The response to a client speaking `version`. Also tells the access log.
    pub(super) fn into_response(self, version: Version, record: Option<Record>) -> Response<ResponseBody> {
        let closes = matches!(self, Self::HeadTooLarge | Self::Malformed(_)) && version < Version::HTTP_2;
        let words = self.words();
        let status = StatusCode::from_u16(words.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let body = if words.body.is_empty() {
            words.body
        } else {
            words.body + "\n"
        };
        if let Some(mut record) = record {
            record.refused(status, &words.error, body.len());
        }
        let mut response = Response::new(ResponseBody::whole(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        if let Ok(error) = HeaderValue::try_from(words.error)
            && !error.is_empty()
        {
            headers.insert(&names::CF_ROUTER_ERROR, error);
        }
        if let Some(cache) = words.cache {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        }
        if closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn words(&self) -> Words {
        let route =
            |host: &HeaderValue| format!("Requested route ('{}')", String::from_utf8_lossy(host.as_bytes()));
        match self {
            Self::UnknownRoute(host) => words(
                404,
                "unknown_route",
                format!("404 Not Found: {} does not exist.", route(host)),
                NEVER,
            ),
            Self::NoEndpoints(host) => {
                let body = format!(
                    "503 Service Unavailable: {} has no available endpoints.",
                    route(host)
                );
                words(503, "no_endpoints", body, SHORT)
            }
            Self::ConnectionLimit(host) => {
                let body = format!(
                    "503 Service Unavailable: {} has reached the connection limit.",
                    route(host)
                );
                words(503, "Connection Limit Reached", body, SHORT)
            }
            Self::EmptyHost => words(
                400,
                "empty_host",
                "400 Bad Request: Request had empty Host header".into(),
                NEVER,
            ),
            Self::InvalidInstance { header, value } => invalid_instance(header, value),
            Self::UnknownInstance { index, guid, host } => {
                let body = format!(
                    "400 Bad Request: Requested instance ('{index}') with guid ('{guid}') does not exist for route ('{}')",
                    String::from_utf8_lossy(host.as_bytes())
                );
                words(400, "unknown_route", body, NEVER)
            }
            Self::EndpointFailure(detail) => {
                let body = "502 Bad Gateway: Registered endpoint failed to handle the request.";
                words(502, &format!("endpoint_failure ({detail})"), body.into(), None)
            }
            Self::HeadTooLarge => words(431, "max-request-size-exceeded", String::new(), None),
            Self::Malformed(what) => words(400, "", format!("400 Bad Request: {what}"), NEVER),
            Self::MethodNotAllowed => words(
                405,
                "",
                "405 Method Not Allowed: this router does not tunnel".into(),
                None,
            ),
            Self::Cancelled => words(499, "endpoint_failure", "499 Request Cancelled".into(), None),
        }
    }
}

fn words(status: u16, error: &str, body: String, cache: Option<&'static str>) -> Words {
    Words {
        status,
        error: error.into(),
        body,
        cache,
    }
}

fn invalid_instance(header: &'static HeaderName, value: &HeaderValue) -> Words {
    let error = if header == names::CF_APP_INSTANCE {
        "invalid_cf_app_instance_header"
    } else {
        "invalid_cf_process_instance_header"
    };
    let value = String::from_utf8_lossy(value.as_bytes());
    let body = format!(
        "400 Bad Request: Incorrect {} header : {value}",
        header.as_str().to_ascii_uppercase()
    );
    words(400, error, body, NEVER)
}
