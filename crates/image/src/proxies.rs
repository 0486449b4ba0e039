//! Which requests go through a proxy: as the operator's document says, else as the process environment does.

use std::fmt;
use std::sync::Arc;

use hyper_util::client::proxy::matcher::Matcher;
use model::Proxy;
use url::Url;

use crate::policy::wrong;
use crate::settings::SettingsError;

const FORM: &str = "http://HOST:PORT; one that wants a password is given by the environment (HTTPS_PROXY)";

/// Chooses the proxy of each request.
#[derive(Clone)]
pub(crate) struct Proxies {
    /// The same code that decides inside the HTTP client, so both always agree.
    matcher: Arc<Matcher>,
    /// `None`: the environment's.
    own: Option<(Option<Url>, Option<Url>)>,
}

impl Proxies {
    pub(crate) fn new(document: Option<&Proxy>) -> Result<Self, SettingsError> {
        let Some(proxy) = document else {
            return Ok(Self {
                matcher: Arc::new(Matcher::from_system()),
                own: None,
            });
        };
        let url = |list, text: &Option<String>| text.as_deref().map(|text| parse(list, text)).transpose();
        let (http, https) = (url("proxy.http", &proxy.http)?, url("proxy.https", &proxy.https)?);
        for entry in &proxy.no_proxy {
            if entry.trim().is_empty()
                || entry.contains([',', '/', ' ']) && entry.parse::<ipnet::IpNet>().is_err()
            {
                let form = "one host, .DOMAIN, address or network (CIDR form) each";
                return Err(wrong("proxy.no_proxy", entry, "is no host", form));
            }
        }
        let text = |url: &Option<Url>| {
            url.as_ref()
                .map(|url| url.as_str().to_owned())
                .unwrap_or_default()
        };
        let matcher = Matcher::builder()
            .http(text(&http))
            .https(text(&https))
            .no(proxy.no_proxy.join(","))
            .build();
        Ok(Self {
            matcher: Arc::new(matcher),
            own: Some((http, https)),
        })
    }

    /// Whether any request goes through a proxy.
    pub(crate) fn any(&self) -> bool {
        match &self.own {
            Some((http, https)) => http.is_some() || https.is_some(),
            // A host that no list of exceptions can hold.
            None => ["http://x.invalid/", "https://x.invalid/"]
                .iter()
                .filter_map(|url| Url::parse(url).ok())
                .any(|url| self.proxy_of(&url).is_some()),
        }
    }

    /// `HOST:PORT` of the proxy of a URL.
    pub(crate) fn proxy_of(&self, url: &Url) -> Option<String> {
        let uri: http::Uri = url.as_str().parse().ok()?;
        let proxy = self.matcher.intercept(&uri)?;
        let uri = proxy.uri();
        Some(match uri.port_u16() {
            Some(port) => format!("{}:{port}", uri.host().unwrap_or_default()),
            None => uri.host().unwrap_or_default().to_owned(),
        })
    }

    /// Makes a client use the proxies. The list of exceptions was applied before this client is chosen.
    pub(crate) fn configure(&self, mut builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        let Some((http, https)) = &self.own else {
            return builder;
        };
        builder = builder.no_proxy();
        let http = http.as_ref().map(|url| reqwest::Proxy::http(url.clone()));
        let https = https.as_ref().map(|url| reqwest::Proxy::https(url.clone()));
        for proxy in [http, https].into_iter().flatten().flatten() {
            builder = builder.proxy(proxy);
        }
        builder
    }
}

impl fmt::Debug for Proxies {
    /// The environment's may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies")
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

fn parse(list: &'static str, text: &str) -> Result<Url, SettingsError> {
    let shown = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let fault = |why| wrong(list, shown, why, FORM);
    let url = Url::parse(text.trim()).map_err(|_| fault("is no URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(fault("has a user name or password"));
    }
    if url.scheme() != "http" || url.host_str().is_none() {
        return Err(fault("is no http URL"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(fault("has more than a host and a port"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(http: Option<&str>, https: Option<&str>, no_proxy: &[&str]) -> Result<Proxies, String> {
        let document = Proxy {
            http: http.map(str::to_owned),
            https: https.map(str::to_owned),
            no_proxy: no_proxy.iter().map(|entry| (*entry).to_owned()).collect(),
        };
        Proxies::new(Some(&document)).map_err(|error| error.to_string())
    }

    #[test]
    fn requests_go_where_the_document_says() {
        let some = proxies(
            None,
            Some("http://proxy.example:3128"),
            &["reg.example", ".corp.example", "10.0.0.0/8"],
        )
        .unwrap();
        for (url, want) in [
            ("https://a.example/", Some("proxy.example:3128")),
            ("http://a.example/", None),
            ("https://reg.example:5000/", None),
            ("https://x.corp.example/", None),
            ("https://10.1.1.1/", None),
            ("https://11.1.1.1/", Some("proxy.example:3128")),
        ] {
            assert_eq!(some.proxy_of(&url.parse().unwrap()).as_deref(), want, "{url}");
        }
        assert!(some.any() && !proxies(None, None, &[]).unwrap().any());
    }

    #[test]
    fn passwords_and_other_schemes_are_refused_and_not_repeated() {
        for (text, why) in [
            ("http://user:hunter2@proxy:3128", "has a user name or password"),
            ("http://hunter2@proxy:3128", "has a user name or password"),
            ("socks5://proxy:1080", "is no http URL"),
            ("https://proxy:1080", "is no http URL"),
            ("proxy", "is no URL"),
            ("http://proxy/path", "has more than"),
        ] {
            let error = proxies(Some(text), None, &[]).unwrap_err();
            assert!(
                error.contains(why) && error.contains("proxy.http entry") && !error.contains("hunter2"),
                "{error}"
            );
        }
        assert!(proxies(None, None, &["a b"]).is_err());
        assert!(proxies(None, None, &["a,b"]).is_err());
    }
}
