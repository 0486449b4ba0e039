//! Whose request it is: the host it names, the route or platform part behind it, the instance it asks for.

use std::borrow::Cow;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{Proxy, Rejection, sticky};
use crate::instance::{Instance, Slot};
use crate::names;
use crate::table::{NoBackend, Pool, Selection};

/// Longest host with port we look at; DNS names end at 253.
const HOST: usize = 261;
/// Attempts at different backends of a route.
const ATTEMPTS: usize = 3;

pub(super) enum Target {
    Route(Arc<Pool>, Selection),
    Platform(Arc<Instance>),
}

impl Target {
    /// An instance whose app a request belongs to, before one is picked.
    pub(super) fn witness(&self) -> Option<Arc<Instance>> {
        match self {
            Self::Route(pool, _) => pool.first().cloned(),
            Self::Platform(_) => None,
        }
    }

    pub(super) fn attempts(&self) -> usize {
        match self {
            Self::Route(pool, _) => pool.len().clamp(1, ATTEMPTS),
            Self::Platform(_) => 1,
        }
    }

    /// A place at a backend. The platform's own parts have no limit here: they guard themselves.
    pub(super) fn pick(&self, host: &HeaderValue, limit: usize) -> Result<Slot, Rejection> {
        match self {
            Self::Platform(instance) => instance
                .acquire(usize::MAX)
                .ok_or_else(|| Rejection::ConnectionLimit(host.clone())),
            Self::Route(pool, selection) => pool.pick(selection, limit).map_err(|none| match none {
                NoBackend::Empty => Rejection::NoEndpoints(host.clone()),
                NoBackend::Overloaded => Rejection::ConnectionLimit(host.clone()),
                NoBackend::NotThere => absent(selection, host),
            }),
        }
    }
}

fn absent(selection: &Selection, host: &HeaderValue) -> Rejection {
    let (index, guid) = match selection {
        Selection::AppInstance { app, index } => (index.to_string(), app),
        Selection::ProcessInstance { process, index } => {
            (index.map_or_else(String::new, |i| i.to_string()), process)
        }
        Selection::Any | Selection::Prefer(_) => return Rejection::NoEndpoints(host.clone()),
    };
    Rejection::UnknownInstance {
        index,
        guid: guid.clone(),
        host: host.clone(),
    }
}

impl Proxy {
    /// The target of a request for `host`.
    pub(super) fn target(&self, host: &HeaderValue, parts: &Parts) -> Result<Target, Rejection> {
        let key = lookup_key(host)?;
        if let Some(instance) = self.platform.get(&*key) {
            return Ok(Target::Platform(instance.clone()));
        }
        let pool = match self.table.lookup(&key, parts.uri.path()) {
            Some(pool) => pool,
            // Nobody may conclude from our ignorance that the route does not exist.
            None if self.table.revision().is_none() => return Err(Rejection::NoEndpoints(host.clone())),
            None => return Err(Rejection::UnknownRoute(host.clone())),
        };
        Ok(Target::Route(pool, selection(&parts.headers)?))
    }

    /// The target anew, for another attempt: what was removed in the meantime must not be asked.
    pub(super) fn again(&self, target: &Target, host: &HeaderValue, path: &str) -> Option<Arc<Pool>> {
        match target {
            Target::Platform(_) => None,
            Target::Route(..) => self.table.lookup(&lookup_key(host).ok()?, path),
        }
    }
}

/// The host a request names: that of an absolute or HTTP/2 target, else of its one `Host` header.
pub(super) fn host(parts: &Parts) -> Result<HeaderValue, Rejection> {
    if let Some(authority) = parts.uri.authority() {
        return HeaderValue::from_str(authority.as_str()).map_err(|_| Rejection::Malformed("invalid host"));
    }
    let mut all = parts.headers.get_all(header::HOST).iter();
    match (all.next(), all.next()) {
        (Some(host), None) if !host.is_empty() => Ok(host.clone()),
        (Some(_), Some(_)) => Err(Rejection::Malformed("more than one Host header")),
        _ => Err(Rejection::EmptyHost),
    }
}

/// Lower case, without port. Refuses what is no host, so that it is neither looked up nor passed on.
fn lookup_key(host: &HeaderValue) -> Result<Cow<'_, str>, Rejection> {
    const INVALID: Rejection = Rejection::Malformed("invalid Host header");
    let text = host.to_str().map_err(|_| INVALID)?;
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':' | b'[' | b']');
    if text.len() > HOST || !text.bytes().all(valid) {
        return Err(INVALID);
    }
    let name = match text.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some((_, port)) if !port.ends_with(']') => return Err(INVALID),
        _ => text,
    };
    match name {
        "" => Err(Rejection::EmptyHost),
        _ if name.bytes().any(|b| b.is_ascii_uppercase()) => Ok(name.to_ascii_lowercase().into()),
        _ => Ok(name.into()),
    }
}

/// Which instances a request accepts: a named one, that of its session, or any.
fn selection(headers: &HeaderMap) -> Result<Selection, Rejection> {
    if let Some(value) = headers.get(&names::CF_APP_INSTANCE) {
        let (guid, index) = split(value)
            .filter(|(_, index)| index.is_some())
            .unwrap_or_default();
        return match index {
            Some(index) => Ok(Selection::AppInstance {
                app: guid.into(),
                index,
            }),
            None => Err(invalid(&names::CF_APP_INSTANCE, value)),
        };
    }
    if let Some(value) = headers.get(&names::CF_PROCESS_INSTANCE) {
        return match split(value) {
            Some((guid, index)) => Ok(Selection::ProcessInstance {
                process: guid.into(),
                index,
            }),
            None => Err(invalid(&names::CF_PROCESS_INSTANCE, value)),
        };
    }
    Ok(sticky::wanted(headers).map_or(Selection::Any, |guid| Selection::Prefer(guid.into())))
}

fn invalid(header: &'static HeaderName, value: &HeaderValue) -> Rejection {
    Rejection::InvalidInstance {
        header,
        value: value.clone(),
    }
}

/// `GUID[:INDEX]`; `None` for anything else.
fn split(value: &HeaderValue) -> Option<(&str, Option<u32>)> {
    let text = value.to_str().ok()?;
    let (guid, index) = match text.split_once(':') {
        None => (text, None),
        Some((guid, index)) => (guid, Some(index.parse().ok()?)),
    };
    (!guid.is_empty()).then_some((guid, index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_hosts() {
        for (host, expected) in [
            ("a.example.com", Some("a.example.com")),
            ("A.Example.com:8443", Some("a.example.com")),
            ("a.example.com:", Some("a.example.com")),
            ("127.0.0.1:80", Some("127.0.0.1")),
            ("[::1]:80", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("", None),
            (":80", None),
            ("a.com:x", None),
            ("a@b.com", None),
            ("a.com/b", None),
            ("a.com b.com", None),
            ("a,b", None),
        ] {
            let value = HeaderValue::from_str(host).unwrap();
            assert_eq!(lookup_key(&value).ok().as_deref(), expected, "{host}");
        }
        let long = HeaderValue::from_str(&"a".repeat(300)).unwrap();
        assert!(lookup_key(&long).is_err());
    }

    #[test]
    fn instances_asked_for() {
        let check = |name: &HeaderName, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            match selection(&headers) {
                Ok(Selection::AppInstance { app, index }) => format!("app {app} {index}"),
                Ok(Selection::ProcessInstance { process, index }) => format!("process {process} {index:?}"),
                Ok(_) => "any".into(),
                Err(_) => "invalid".into(),
            }
        };
        assert_eq!(check(&names::CF_APP_INSTANCE, "g:1"), "app g 1");
        for value in ["g", "g:", ":1", "g:x", "g:1:2", "", ":", "g:-1", "g:99999999999"] {
            assert_eq!(check(&names::CF_APP_INSTANCE, value), "invalid", "{value}");
        }
        assert_eq!(check(&names::CF_PROCESS_INSTANCE, "p"), "process p None");
        assert_eq!(check(&names::CF_PROCESS_INSTANCE, "p:2"), "process p Some(2)");
        for value in ["", ":", "p:", ":2", "p:x"] {
            assert_eq!(check(&names::CF_PROCESS_INSTANCE, value), "invalid", "{value}");
        }
    }
}
