//! Sticky sessions: an app that sets `JSESSIONID` gets the following requests of that client at the same instance.
//!
//! The router remembers nothing; it adds a cookie of its own, `__VCAP_ID__`, that names the instance and lives as long
//! as the app's cookie. A client that brings both back gets that instance while it is there, else any other and a new
//! cookie.

use http::header::{self, HeaderMap, HeaderValue};

use crate::instance::Instance;

const SESSION: &str = "JSESSIONID";
const INSTANCE: &str = "__VCAP_ID__";

/// The instance guid a request's session belongs to.
pub(super) fn wanted(headers: &HeaderMap) -> Option<&str> {
    let mut session = false;
    let mut instance = None;
    let values = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    for (name, value) in values
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
    {
        match name {
            SESSION => session = true,
            INSTANCE => instance = instance.or(Some(value)),
            _ => {}
        }
    }
    instance.filter(|guid| session && !guid.is_empty())
}

/// Adds the router's cookie to a response of `instance` where a session begins, or where a session that `asked` for
/// another instance was moved here. `path` is that of the route.
pub(super) fn stick(headers: &mut HeaderMap, asked: Option<&str>, instance: &Instance, path: &str) {
    let Some(identity) = &instance.identity else {
        return;
    };
    let moved = asked.is_some_and(|asked| identity.instance_guid != *asked);
    if !moved && !headers.contains_key(header::SET_COOKIE) {
        return;
    }
    let cookies = || {
        headers
            .get_all(header::SET_COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
    };
    let named =
        |name: &'static str| move |cookie: &&str| cookie.split('=').next().is_some_and(|n| n.trim() == name);
    let session = cookies().find(named(SESSION));
    if (session.is_none() && !moved) || cookies().any(|cookie| named(INSTANCE)(&cookie)) {
        return;
    }
    let guid = String::from_utf8_lossy(identity.instance_guid.as_bytes());
    if let Ok(cookie) = HeaderValue::try_from(cookie(&guid, path, session.unwrap_or_default())) {
        headers.append(header::SET_COOKIE, cookie);
    }
}

/// Our cookie, with the attributes of `session` that decide about its life and reach.
fn cookie(guid: &str, path: &str, session: &str) -> String {
    let attributes = session.split(';').skip(1).map(|a| {
        a.split_once('=')
            .map_or((a.trim(), ""), |(n, v)| (n.trim(), v.trim()))
    });
    let find = |name: &str| {
        attributes
            .clone()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    };
    let path = if path.is_empty() { "/" } else { path };
    let mut cookie = format!("{INSTANCE}={guid}; Path={path}");
    if let Some(expires) = find("Expires") {
        cookie.push_str("; Expires=");
        cookie.push_str(expires);
    }
    // Only the end of a session is copied; a session that lives on needs no second clock.
    if find("Max-Age")
        .and_then(|age| age.parse::<i64>().ok())
        .is_some_and(|age| age <= 0)
    {
        cookie.push_str("; Max-Age=0");
    }
    cookie.push_str("; HttpOnly");
    if find("Secure").is_some() {
        cookie.push_str("; Secure");
    }
    if let Some(same_site) = find("SameSite") {
        cookie.push_str("; SameSite=");
        cookie.push_str(same_site);
    }
    if find("Partitioned").is_some() {
        cookie.push_str("; Partitioned");
    }
    cookie
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_follow_the_session() {
        for (session, expected) in [
            ("JSESSIONID=1", "__VCAP_ID__=g; Path=/; HttpOnly"),
            (
                "JSESSIONID=1; path=/x; max-age=0; SECURE; SameSite=None; Partitioned; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
                "__VCAP_ID__=g; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; HttpOnly; Secure; SameSite=None; Partitioned",
            ),
            ("JSESSIONID=1; Max-Age=60", "__VCAP_ID__=g; Path=/; HttpOnly"),
        ] {
            assert_eq!(cookie("g", "", session), expected);
        }
        assert_eq!(cookie("g", "/ctx", ""), "__VCAP_ID__=g; Path=/ctx; HttpOnly");
    }

    #[test]
    fn both_cookies_are_needed() {
        let wanted_of = |cookies: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, HeaderValue::from_static(cookies));
            wanted(&headers).map(str::to_owned)
        };
        assert_eq!(
            wanted_of("a=b; __VCAP_ID__=g; JSESSIONID=x").as_deref(),
            Some("g")
        );
        assert_eq!(wanted_of("__VCAP_ID__=g"), None);
        assert_eq!(wanted_of("JSESSIONID=x"), None);
        assert_eq!(wanted_of("JSESSIONID=x; __VCAP_ID__="), None);
    }
}
