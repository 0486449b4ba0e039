//! Addresses of routes, as the router looks them up.

use std::fmt;

/// Protocol spoken to the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS (prior knowledge), needed for gRPC.
    Http2,
}

/// Host and path of a route. Hosts are lower case and may start with `*.`; the path is empty or starts with `/` and
/// does not end with one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteKey {
    /// Lower-case host without port.
    pub host: String,
    /// Empty, or `/a/b`.
    pub path: String,
}

impl RouteKey {
    /// A key in its one normal form.
    pub fn new(host: &str, path: &str) -> Self {
        Self {
            host: host.to_ascii_lowercase(),
            path: path.trim_end_matches('/').to_owned(),
        }
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host, self.path)
    }
}
