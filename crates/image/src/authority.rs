//! `HOST` or `HOST:PORT` as written in references and settings, and as found in URLs.

use std::fmt;

use url::Url;

/// Longest name DNS allows (RFC 1035, 2.3.4).
const MAX_HOST_LEN: usize = 255;

/// A host with an optional port. The host is lower-case; an IPv6 address keeps its brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Authority {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

impl Authority {
    /// Reads `HOST[:PORT]`; `None` when it is neither a DNS name nor an address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']')?;
                address.parse::<std::net::Ipv6Addr>().ok()?;
                let port = if rest.is_empty() {
                    None
                } else {
                    Some(rest.strip_prefix(':')?)
                };
                (format!("[{}]", address.to_ascii_lowercase()), port)
            }
            None => {
                let (host, port) = match text.split_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (text, None),
                };
                if host.len() > MAX_HOST_LEN || !host.split('.').all(is_label) {
                    return None;
                }
                (host.to_ascii_lowercase(), port)
            }
        };
        let port = match port {
            Some(digits) => Some(parse_port(digits)?),
            None => None,
        };
        Some(Self { host, port })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// `host:port` of a URL, the default port filled in: what the insecure list holds and what may share credentials.
pub(crate) fn of_url(url: &Url) -> String {
    format!(
        "{}:{}",
        url.host_str().unwrap_or_default(),
        url.port_or_known_default().unwrap_or_default()
    )
}

/// Distribution reference grammar, `domain-component`, with the underscore some internal names have.
fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    label.bytes().all(inner) && edge(label.bytes().next()) && edge(label.bytes().last())
}

fn parse_port(digits: &str) -> Option<u16> {
    let plain = !digits.is_empty() && digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|port| plain && *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (text, want) in [
            ("Registry.Example", Some(("registry.example", None))),
            ("localhost:5000", Some(("localhost", Some(5000)))),
            ("[::1]:5000", Some(("[::1]", Some(5000)))),
            ("[::1]", Some(("[::1]", None))),
            ("10.0.0.1:1", Some(("10.0.0.1", Some(1)))),
            ("", None),
            (":5000", None),
            ("a:", None),
            ("a:0", None),
            ("a:+80", None),
            ("a:65536", None),
            ("-a.b", None),
            ("a..b", None),
            ("user@host", None),
            ("[::1]5000", None),
            ("[zz]", None),
        ] {
            let got = Authority::parse(text);
            assert_eq!(got.as_ref().map(|a| (a.host.as_str(), a.port)), want, "{text}");
        }
    }

    #[test]
    fn a_url_has_its_default_port() {
        assert_eq!(of_url(&"https://Host/x".parse().unwrap()), "host:443");
        assert_eq!(of_url(&"http://[::1]/x".parse().unwrap()), "[::1]:80");
    }
}
