//! Identifiers of one request: the request id and the B3 trace context derived from it.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use uuid::Uuid;

use crate::names;

/// Fresh identifiers, all slices of one buffer: `UUID TRACE-SPAN`.
pub(crate) struct Ids {
    pub(crate) request: HeaderValue,
    text: Bytes,
}

const UUID: usize = uuid::fmt::Hyphenated::LENGTH;
const TRACE: usize = uuid::fmt::Simple::LENGTH;
const SPAN: usize = TRACE / 2;

impl Ids {
    pub(crate) fn random() -> Self {
        // Not Uuid::new_v4, which asks the kernel each time; the thread's generator is seeded from it.
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        let text = Bytes::from(Self::text(id));
        Self {
            request: value(text.slice(..UUID)),
            text,
        }
    }

    fn text(id: Uuid) -> Vec<u8> {
        let mut buffer = Uuid::encode_buffer();
        let mut text = Vec::with_capacity(UUID + TRACE + 1 + SPAN);
        text.extend_from_slice(id.hyphenated().encode_lower(&mut buffer).as_bytes());
        text.extend_from_slice(id.simple().encode_lower(&mut buffer).as_bytes());
        text.push(b'-');
        text.extend_from_within(UUID..UUID + SPAN);
        text
    }

    /// Sets the request id, always, and the B3 headers as far as the client sent none.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        headers.insert(&names::VCAP_REQUEST_ID, self.request.clone());
        if headers.contains_key(&names::B3) {
            return;
        }
        let context = match (headers.get(&names::B3_TRACE_ID), headers.get(&names::B3_SPAN_ID)) {
            (Some(trace), Some(span)) => {
                let joined = [trace.as_bytes(), span.as_bytes()].join(&b'-');
                HeaderValue::from_maybe_shared(Bytes::from(joined)).expect("joined from two header values")
            }
            _ => {
                headers.insert(&names::B3_TRACE_ID, value(self.text.slice(UUID..UUID + TRACE)));
                headers.insert(&names::B3_SPAN_ID, value(self.text.slice(UUID + TRACE + 1..)));
                value(self.text.slice(UUID..))
            }
        };
        headers.insert(&names::B3, context);
    }
}

fn value(text: Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(text).expect("hexadecimal digits and hyphens")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_context_is_derived_from_the_request_id() {
        let mut headers = HeaderMap::new();
        headers.insert(&names::VCAP_REQUEST_ID, HeaderValue::from_static("spoofed"));
        let ids = Ids::random();
        ids.apply(&mut headers);
        let text = |name| headers.get(name).unwrap().to_str().unwrap();
        let id = Uuid::parse_str(text(&names::VCAP_REQUEST_ID)).unwrap();
        assert_eq!(id.get_version_num(), 4);
        assert_eq!(text(&names::B3_TRACE_ID), id.simple().to_string());
        assert_eq!(text(&names::B3_SPAN_ID), &id.simple().to_string()[..16]);
        assert_eq!(
            text(&names::B3),
            format!("{}-{}", text(&names::B3_TRACE_ID), text(&names::B3_SPAN_ID))
        );
    }

    #[test]
    fn a_clients_context_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert(&names::B3_TRACE_ID, HeaderValue::from_static("aa"));
        headers.insert(&names::B3_SPAN_ID, HeaderValue::from_static("bb"));
        Ids::random().apply(&mut headers);
        assert_eq!(headers.get(&names::B3).unwrap(), "aa-bb");
        headers.insert(&names::B3, HeaderValue::from_static("0"));
        Ids::random().apply(&mut headers);
        assert_eq!(headers.get(&names::B3).unwrap(), "0");
    }
}
