//! One question to an instance.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::future::try_join_all;
use model::HealthCheck;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use wire::v1;

use super::http;

/// A check of one instance at its address.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    kind: Kind,
    address: Ipv4Addr,
    try_timeout: Duration,
    interval: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing is asked: the process running is enough.
    Process,
    /// All of these accept connections.
    Ports(Vec<u16>),
    /// This answers 200.
    Http { port: u16, path: String },
}

impl Check {
    /// The check that was asked for. An absent one, or one that has no port to ask, asks nothing.
    pub(crate) fn new(wanted: Option<&v1::HealthCheck>, ports: &[u32], address: Ipv4Addr) -> Self {
        let ports: Vec<u16> = ports
            .iter()
            .filter_map(|port| u16::try_from(*port).ok())
            .collect();
        let kind = match (wanted.map(|check| check.kind.as_str()), ports.first()) {
            (Some("http"), Some(port)) => Kind::Http {
                port: *port,
                path: http::path(wanted.map_or("/", |check| &check.endpoint)),
            },
            (Some("port"), Some(_)) => Kind::Ports(ports),
            _ => Kind::Process,
        };
        let or = |millis: Option<u64>, default| match millis {
            None | Some(0) => default,
            Some(millis) => Duration::from_millis(millis),
        };
        Self {
            kind,
            address,
            try_timeout: or(
                wanted.map(|check| check.invocation_timeout_ms),
                HealthCheck::INVOCATION_TIMEOUT,
            ),
            interval: or(wanted.map(|check| check.interval_ms), HealthCheck::INTERVAL),
        }
    }

    /// Whether there is anything to ask.
    pub(crate) fn asks(&self) -> bool {
        self.kind != Kind::Process
    }

    /// Pause between tries once it passed.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Ports it asks.
    pub(crate) fn ports(&self) -> Vec<u16> {
        match &self.kind {
            Kind::Process => Vec::new(),
            Kind::Ports(ports) => ports.clone(),
            Kind::Http { port, .. } => vec![*port],
        }
    }

    /// Asks once.
    pub(crate) async fn ask(&self) -> Result<(), String> {
        match &self.kind {
            Kind::Process => Ok(()),
            Kind::Ports(ports) => {
                let all = ports.iter().map(|port| self.connect(*port));
                try_join_all(all).await.map(drop)
            }
            Kind::Http { port, path } => self.get(*port, path).await,
        }
    }

    async fn connect(&self, port: u16) -> Result<(), String> {
        let failed = |why: &str| {
            let address = self.address;
            Err(format!(
                "failed to make TCP connection to {address}:{port}: {why}"
            ))
        };
        match timeout(self.try_timeout, TcpStream::connect((self.address, port))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => failed(&reason(&error)),
            Err(_) => failed(&self.timed_out()),
        }
    }

    async fn get(&self, port: u16, path: &str) -> Result<(), String> {
        let start = Instant::now();
        let failed = |why: &str| {
            Err(format!(
                "failed to make HTTP request to '{path}' on port {port}: {why}"
            ))
        };
        match timeout(self.try_timeout, http::get(self.address, port, path)).await {
            Ok(Ok(200)) => Ok(()),
            Ok(Ok(status)) => failed(&format!(
                "received status code {status} in {}ms",
                start.elapsed().as_millis()
            )),
            Ok(Err(error)) => failed(&error),
            Err(_) => failed(&self.timed_out()),
        }
    }

    fn timed_out(&self) -> String {
        format!("timed out after {:.2} seconds", self.try_timeout.as_secs_f64())
    }
}

/// An I/O error in the words of a person.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "no route to the instance".to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn wanted(kind: &str) -> v1::HealthCheck {
        v1::HealthCheck {
            kind: kind.to_owned(),
            ..v1::HealthCheck::default()
        }
    }

    fn check(kind: &str, ports: &[u16]) -> Check {
        let ports: Vec<u32> = ports.iter().copied().map(u32::from).collect();
        Check::new(Some(&wanted(kind)), &ports, Ipv4Addr::LOCALHOST)
    }

    #[test]
    fn without_a_port_nothing_is_asked() {
        assert!(!Check::new(None, &[80], Ipv4Addr::LOCALHOST).asks());
        assert!(!check("process", &[80]).asks() && !check("http", &[]).asks() && check("port", &[80]).asks());
        assert_eq!(check("port", &[80, 81]).ports(), [80, 81]);
        assert_eq!(check("port", &[80]).interval(), HealthCheck::INTERVAL);
    }

    #[tokio::test]
    async fn every_port_must_accept() {
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = (open.local_addr().unwrap().port(), open);
        // Bound but not listening: closed, and nobody else's.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let closed = socket.local_addr().unwrap().port();
        assert_eq!(check("port", &[open.0]).ask().await, Ok(()));
        let error = format!("failed to make TCP connection to 127.0.0.1:{closed}: connection refused");
        assert_eq!(check("port", &[open.0, closed]).ask().await, Err(error));
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_not_waited_for() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = silent.local_addr().unwrap().port();
        let mut check = check("http", &[port]);
        check.try_timeout = Duration::from_millis(20);
        let error = check.ask().await.unwrap_err();
        assert!(error.ends_with("timed out after 0.02 seconds"), "{error}");
    }
}
