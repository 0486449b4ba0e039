//! What must not pass: headers that speak of one connection only, and framing that the other side could read
//! differently. Bodies are framed anew on each side, so framing headers of the other side are dropped.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Version, request, response};

use crate::names;

/// Size of request line and headers as they would be on an HTTP/1.1 wire, in bytes.
pub(super) fn head_size(parts: &request::Parts) -> usize {
    let line =
        parts.uri.path_and_query().map_or(1, |uri| uri.as_str().len()) + parts.method.as_str().len() + 12;
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4);
    line + headers.sum::<usize>()
}

/// The protocol a request asks to switch to. `h2c` is not offered: a tunnel made by it would carry requests past us.
pub(super) fn wanted_upgrade(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    if version != Version::HTTP_11 || !connection_tokens(headers).any(|t| t.eq_ignore_ascii_case("upgrade")) {
        return None;
    }
    let wanted = headers.get(header::UPGRADE)?;
    let text = wanted.to_str().ok()?;
    let offers_h2c = text
        .split(',')
        .any(|protocol| protocol.trim().to_ascii_lowercase().starts_with("h2c"));
    (!offers_h2c && !text.is_empty()).then(|| wanted.clone())
}

/// Removes what concerns the client's connection. `TE: trailers` stays, since trailers are passed on and gRPC asks for
/// them.
pub(super) fn clean_request(headers: &mut HeaderMap) {
    let wants_trailers = headers.get_all(header::TE).iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|te| te.split(',').any(|t| t.trim().eq_ignore_ascii_case("trailers")))
    });
    remove_hop_by_hop(headers);
    headers.remove(header::TE);
    if wants_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    headers.remove(&names::CF_APP_INSTANCE);
    headers.remove(&names::CF_PROCESS_INSTANCE);
    join_cookies(headers);
}

/// Removes what concerns the backend's connection.
pub(super) fn clean_response(parts: &mut response::Parts) {
    remove_hop_by_hop(&mut parts.headers);
    // Whatever the backend speaks, the client gets what it speaks itself.
    parts.version = Version::HTTP_11;
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let listed: Vec<_> = connection_tokens(headers)
            .filter_map(|t| t.parse::<HeaderName>().ok())
            .collect();
        for name in listed.iter().filter(|name| **name != header::TE) {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    if headers.remove(header::TRANSFER_ENCODING).is_some() {
        headers.remove(header::CONTENT_LENGTH);
    }
    headers.remove(header::UPGRADE);
    headers.remove(&names::KEEP_ALIVE);
    headers.remove(&names::PROXY_CONNECTION);
}

fn connection_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

/// HTTP/2 may split cookies over several headers, HTTP/1.1 apps expect one.
fn join_cookies(headers: &mut HeaderMap) {
    let mut all = headers.get_all(header::COOKIE).iter();
    if all.next().is_none() || all.next().is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(b"; ".as_slice())) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
            .collect()
    }

    #[test]
    fn only_end_to_end_headers_pass() {
        let mut map = headers(&[
            ("host", "a"),
            ("te", "gzip, trailers"),
            ("keep-alive", "5"),
            ("accept", "*/*"),
        ]);
        map.append(header::CONNECTION, HeaderValue::from_static("close, X-Secret"));
        map.append(
            header::CONNECTION,
            HeaderValue::from_static("te,, x-forwarded-for"),
        );
        map.extend(headers(&[
            ("x-secret", "1"),
            ("x-forwarded-for", "spoof"),
            ("proxy-connection", "x"),
        ]));
        map.extend(headers(&[
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("upgrade", "x"),
        ]));
        clean_request(&mut map);
        let mut left: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "host", "te"]);
        assert_eq!(map.get(header::TE).unwrap(), "trailers");
    }

    #[test]
    fn upgrades_offered() {
        let wanted = |pairs: &[(&'static str, &'static str)]| {
            wanted_upgrade(Version::HTTP_11, &headers(pairs)).map(|v| v.to_str().unwrap().to_owned())
        };
        let both = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
        assert_eq!(wanted(&both).as_deref(), Some("websocket"));
        assert_eq!(wanted(&both[..1]), None);
        assert_eq!(wanted(&both[1..]), None);
        assert_eq!(
            wanted(&[("connection", "upgrade"), ("upgrade", "H2C, websocket")]),
            None
        );
        assert!(wanted_upgrade(Version::HTTP_2, &headers(&both)).is_none());
    }

    #[test]
    fn cookies_are_joined() {
        let mut map = HeaderMap::new();
        map.append(header::COOKIE, HeaderValue::from_static("a=1"));
        map.append(header::COOKIE, HeaderValue::from_static("b=2"));
        clean_request(&mut map);
        assert_eq!(
            map.get_all(header::COOKIE).iter().collect::<Vec<_>>(),
            ["a=1; b=2"]
        );
    }
}
