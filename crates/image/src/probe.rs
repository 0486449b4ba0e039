//! How a registry's host is reached: its addresses, its connection, its certificate.

use std::net::{IpAddr, SocketAddr};

use reqwest::header::HeaderValue;
use tokio::net::TcpStream;
use url::{Host, Url};

use crate::authority;
use crate::error::ResolveError;
use crate::handshake;
use crate::mirror::Source;
use crate::resolver;
use crate::retry::Failure;
use crate::session::{Call, Session, api_url};
use crate::transport::{Reply, Verb, refused_address};

/// Most addresses that are shown.
const SHOWN: usize = 8;

/// The host to reach.
pub(crate) struct Target {
    url: Url,
    /// `HOST:PORT`.
    host: String,
    /// `HOST:PORT`.
    proxy: Option<String>,
}

impl Target {
    pub(crate) fn new(session: &Session, call: &Call, source: &Source) -> Result<Self, ResolveError> {
        let url = api_url(call, source)?;
        Ok(Self {
            host: authority::of_url(&url),
            proxy: session.live.document.proxies.proxy_of(&url),
            url,
        })
    }

    /// The host's addresses, and what the policy says of them.
    pub(crate) async fn resolve(&self, session: &Session, call: &Call) -> Result<String, ResolveError> {
        if let Some(proxy) = &self.proxy {
            return Ok(format!("left to the proxy {proxy}"));
        }
        let found = self.addresses(session, call).await?;
        let shown: Vec<String> = found
            .iter()
            .take(SHOWN)
            .map(|address| {
                let class = crate::addresses::classify(address.ip());
                format!("{} ({class})", address.ip())
            })
            .collect();
        Ok(format!("{}: {}", self.host, shown.join(", ")))
    }

    async fn addresses(&self, session: &Session, call: &Call) -> Result<Vec<SocketAddr>, ResolveError> {
        let policy = &session.live.document.addresses;
        let refused = |error| refused_address(&call.what, self.host.clone(), &error);
        policy.judge_literal(&self.url).map_err(refused)?;
        let port = self.url.port_or_known_default().unwrap_or_default();
        let literal = |address: IpAddr| Ok(vec![SocketAddr::new(address, port)]);
        let name = match self.url.host() {
            Some(Host::Ipv4(address)) => return literal(address.into()),
            Some(Host::Ipv6(address)) => return literal(address.into()),
            Some(Host::Domain(name)) => name,
            None => "",
        };
        let unreachable = |cause: String| ResolveError::Unreachable {
            host: self.host.clone(),
            image: call.what.clone(),
            cause,
        };
        let wait = session.shared.timeouts.connect;
        let found = match tokio::time::timeout(wait, resolver::lookup(name)).await {
            Ok(found) => found.map_err(|error| unreachable(error.to_string()))?,
            Err(_) => {
                let wait = wait.as_secs_f32();
                return Err(unreachable(format!("its name was not resolved within {wait} s")));
            }
        };
        let mut good = resolver::choose(policy, policy.standing(&self.url), found).map_err(refused)?;
        for address in &mut good {
            address.set_port(port);
        }
        Ok(good)
    }

    /// Connects, looks at the certificate, and asks for the manifest's headers: the last is what decides.
    pub(crate) async fn connect(
        &self,
        session: &Session,
        (call, source): (&Call, &Source),
    ) -> Result<(Reply, String), String> {
        let seen = match &self.proxy {
            Some(proxy) => format!("through the proxy {proxy}"),
            None => self.look(session, call).await,
        };
        let header = None::<HeaderValue>;
        let reply = session.send(call, source, (Verb::Head, 0, header)).await;
        let reply = reply.map_err(|Failure { error, .. }| format!("{error} ({seen})"))?;
        let insecure = session.live.transport.is_insecure(&self.url);
        let how = match (reply.response.url().scheme(), insecure) {
            ("http", _) => format!("plain HTTP with {} (listed as insecure)", self.host),
            (_, true) => format!("{seen}; not checked (listed as insecure)"),
            (_, false) => format!("{seen}; trusted"),
        };
        Ok((reply, how))
    }

    /// What a greeting shows.
    async fn look(&self, session: &Session, call: &Call) -> String {
        let wait = session.shared.timeouts.connect;
        let Ok(addresses) = self.addresses(session, call).await else {
            return "no address".to_owned();
        };
        for address in addresses {
            if let Ok(Ok(stream)) = tokio::time::timeout(wait, TcpStream::connect(address)).await {
                let host = self.url.host_str().unwrap_or_default();
                return match handshake::greet(stream, host, wait).await {
                    Ok(shown) => format!("connected to {address}, {shown}"),
                    Err(cause) => format!("connected to {address}, no TLS: {cause}"),
                };
            }
        }
        "no connection".to_owned()
    }
}
