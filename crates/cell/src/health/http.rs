//! The smallest HTTP client that can ask an app whether it is well.
//!
//! Redirects are followed as the reference does, but only within the container: an app must not be able to send the
//! daemon anywhere else. The app's bytes are hostile; of an answer only its head is read, and a bounded one.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::check::reason;

/// Largest head of an answer.
const LARGEST_HEAD: u64 = 16 << 10;
/// Redirects followed (net/http's default client).
const REDIRECTS: usize = 10;

/// The status of `GET path`, after redirects. The caller bounds the time.
pub(super) async fn get(address: Ipv4Addr, port: u16, path: &str) -> Result<u16, String> {
    let mut target = Target {
        port,
        path: path.to_owned(),
    };
    for _ in 0..=REDIRECTS {
        let head = exchange(address, &target).await?;
        match head.location {
            Some(location) if matches!(head.status, 301 | 302 | 303 | 307 | 308) => {
                target = target.redirected(address, &location)?;
            }
            _ => return Ok(head.status),
        }
    }
    Err(format!("stopped after {REDIRECTS} redirects"))
}

/// An endpoint in the form a request line takes.
pub(super) fn path(endpoint: &str) -> String {
    let slash = if endpoint.starts_with('/') { "" } else { "/" };
    let mut text = slash.to_owned();
    for byte in endpoint.bytes() {
        if byte.is_ascii_graphic() {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Where to ask.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    port: u16,
    path: String,
}

impl Target {
    /// Where `location` leads, if it stays in the container.
    fn redirected(&self, address: Ipv4Addr, location: &str) -> Result<Self, String> {
        let location = location.split('#').next().unwrap_or_default();
        let outside = || Err("it redirects to another host".to_owned());
        let rest = match (location.strip_prefix("http://"), location.strip_prefix("//")) {
            (Some(rest), _) | (None, Some(rest)) => rest,
            _ if location.starts_with("https://") => return outside(),
            _ => {
                let path = self.resolved(location);
                return Ok(Self {
                    port: self.port,
                    path,
                });
            }
        };
        let (authority, end) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()),
            None => (authority, Some(80)),
        };
        match (host.parse::<Ipv4Addr>(), port) {
            (Ok(host), Some(port)) if host == address => Ok(Self {
                port,
                path: path(end),
            }),
            _ => outside(),
        }
    }

    /// A location without a host, seen from here.
    fn resolved(&self, location: &str) -> String {
        if location.starts_with('/') {
            return path(location);
        }
        let here = self.path.split('?').next().unwrap_or_default();
        let dir = match location.starts_with('?') {
            true => here,
            false => here.rfind('/').and_then(|at| here.get(..=at)).unwrap_or("/"),
        };
        path(&format!("{dir}{location}"))
    }
}

/// What of an answer's head matters.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    location: Option<String>,
}

async fn exchange(address: Ipv4Addr, target: &Target) -> Result<Head, String> {
    let Target { port, path } = target;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}:{port}\r\nUser-Agent: diego-healthcheck\r\n\
         X-Forwarded-Proto: https\r\nConnection: close\r\n\r\n"
    );
    let attempt = async {
        let mut stream = TcpStream::connect((address, *port)).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = stream.take(LARGEST_HEAD);
        let mut bytes = Vec::with_capacity(1024);
        loop {
            if let Some(head) = parse(&bytes) {
                return Ok(Some(head));
            }
            if answer.read_buf(&mut bytes).await? == 0 {
                return Ok(None);
            }
        }
    };
    match attempt.await {
        Ok(Some(head)) => Ok(head),
        Ok(None) => Err("the answer is not HTTP".to_owned()),
        Err(error) => Err(reason(&error)),
    }
}

/// The first final head in `bytes`; `None` while there is none.
fn parse(bytes: &[u8]) -> Option<Head> {
    let mut rest = bytes;
    loop {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = head(rest.get(..end)?)?;
        if !(100..200).contains(&head.status) {
            return Some(head);
        }
        rest = rest.get(end + 4..)?;
    }
}

fn head(bytes: &[u8]) -> Option<Head> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let status = match (first.next()?.starts_with("HTTP/1."), first.next()?) {
        (true, digits) if digits.len() == 3 => digits.parse().ok()?,
        _ => return None,
    };
    let location = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("location")
            .then(|| value.trim().to_owned())
    });
    Some(Head { status, location })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn heads_are_read_whole_or_not_at_all() {
        let full =
            b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 302 Found\r\nlocation: /there \r\n\r\nbody";
        let expected = Head {
            status: 302,
            location: Some("/there".to_owned()),
        };
        assert_eq!(parse(full), Some(expected));
        for cut in 0..full.len() - 4 {
            assert_eq!(parse(&full[..cut]), None, "{cut}");
        }
        for bad in [
            &b"SSH-2.0-x\r\n\r\n"[..],
            b"HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 2000 x\r\n\r\n",
            b"\r\n\r\n",
        ] {
            assert_eq!(parse(bad), None);
        }
    }

    #[test]
    fn redirects_stay_in_the_container() {
        let here = Target {
            port: 8080,
            path: "/a/b?c".to_owned(),
        };
        let address = Ipv4Addr::new(10, 0, 0, 2);
        for (location, expected) in [
            ("/x", Some((8080, "/x"))),
            ("y", Some((8080, "/a/y"))),
            ("?q", Some((8080, "/a/b?q"))),
            ("http://10.0.0.2:9000/z#f", Some((9000, "/z"))),
            ("//10.0.0.2", Some((80, "/"))),
            ("/x\r\nEvil: 1", Some((8080, "/x%0D%0AEvil:%201"))),
            ("http://10.0.0.3/", None),
            ("http://169.254.169.254/latest", None),
            ("https://10.0.0.2/", None),
            ("http://10.0.0.2@evil/", None),
            ("http://10.0.0.2:x/", None),
        ] {
            let got = here.redirected(address, location).ok();
            let got = got.as_ref().map(|target| (target.port, target.path.as_str()));
            assert_eq!(got, expected, "{location}");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_followed_and_a_loop_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 1024];
                let length = stream.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                assert!(request.contains("User-Agent: diego-healthcheck\r\n"), "{request}");
                let answer = match request.split(' ').nth(1) {
                    Some("/old") => "301 Moved\r\nLocation: /new",
                    Some("/new") => "200 OK\r\nContent-Length: 0",
                    Some("/loop") => "302 Found\r\nLocation: /loop",
                    _ => "503 Busy",
                };
                let answer = format!("HTTP/1.1 {answer}\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let ask = async {
            let address = Ipv4Addr::LOCALHOST;
            assert_eq!(get(address, port, "/old").await, Ok(200));
            assert_eq!(get(address, port, "/other").await, Ok(503));
            assert_eq!(
                get(address, port, "/loop").await,
                Err("stopped after 10 redirects".to_owned())
            );
        };
        tokio::select! { () = serve => {}, () = ask => {} }
    }
}
