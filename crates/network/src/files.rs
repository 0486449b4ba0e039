//! The network files of a container: `resolv.conf` and `hosts`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

const HOST_FILE: &str = "/etc/resolv.conf";
/// Where systemd-resolved lists the real servers behind its loopback address.
const RESOLVED_FILE: &str = "/run/systemd/resolve/resolv.conf";

/// Content of `/etc/resolv.conf` for containers, from the host's.
pub(crate) fn resolv_conf() -> String {
    for_containers(&host_text())
}

/// The IPv4 servers containers will ask.
pub(crate) fn resolvers() -> Vec<Ipv4Addr> {
    usable(&host_text()).collect()
}

/// Content of `/etc/hosts` for a container: itself by name, and localhost. Characters that cannot be
/// part of a host name are left out.
pub fn hosts(address: Ipv4Addr, hostname: &str) -> String {
    let name: String = hostname
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c))
        .collect();
    let own = if name.is_empty() {
        String::new()
    } else {
        format!("{address} {name}\n")
    };
    format!("127.0.0.1 localhost\n{own}")
}

fn host_text() -> String {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
    let text = read(HOST_FILE);
    if usable(&text).next().is_some() {
        text
    } else {
        format!("{text}\n{}", read(RESOLVED_FILE))
    }
}

/// Keeps everything but servers a container cannot reach: the host's loopback and IPv6.
fn for_containers(host: &str) -> String {
    let mut text = String::new();
    for line in host
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
    {
        if server(line).is_none_or(is_reachable) {
            text.push_str(line);
            text.push('\n');
        }
    }
    if usable(&text).next().is_none() {
        text.insert_str(0, "# the host has no name server that containers can reach\n");
    }
    text
}

fn usable(text: &str) -> impl Iterator<Item = Ipv4Addr> {
    text.lines()
        .filter_map(server)
        .filter(|server| is_reachable(*server))
        .filter_map(|server| match server {
            Some(IpAddr::V4(address)) => Some(address),
            _ => None,
        })
}

/// The address on a `nameserver` line; the inner `None` is one that cannot be read.
#[expect(
    clippy::option_option,
    reason = "not a server line, an unreadable one and a server are three things"
)]
fn server(line: &str) -> Option<Option<IpAddr>> {
    let mut words = line.split_whitespace();
    (words.next() == Some("nameserver")).then(|| words.next().and_then(|word| word.parse().ok()))
}

fn is_reachable(server: Option<IpAddr>) -> bool {
    matches!(server, Some(IpAddr::V4(address)) if !address.is_loopback() && !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreachable_servers_are_left_out() {
        let host = "# comment\nsearch corp.example\nnameserver 127.0.0.53\nnameserver 10.1.1.1\n\
                    nameserver fe80::1%eth0\nnameserver 2001:db8::1\n  nameserver\t192.0.2.1 \noptions edns0\n";
        assert_eq!(
            for_containers(host),
            "search corp.example\nnameserver 10.1.1.1\nnameserver\t192.0.2.1\noptions edns0\n"
        );
        assert_eq!(
            usable(host).collect::<Vec<_>>(),
            [Ipv4Addr::new(10, 1, 1, 1), Ipv4Addr::new(192, 0, 2, 1)]
        );
    }

    #[test]
    fn no_server_left_is_said_in_the_file() {
        assert_eq!(
            for_containers("nameserver ::1\noptions a\n"),
            "# the host has no name server that containers can reach\noptions a\n"
        );
    }

    #[test]
    fn hosts_cannot_be_given_more_lines_by_a_name() {
        let address = Ipv4Addr::new(10, 0, 0, 2);
        assert_eq!(hosts(address, "web-1"), "127.0.0.1 localhost\n10.0.0.2 web-1\n");
        assert_eq!(
            hosts(address, "a\n1.2.3.4 api"),
            "127.0.0.1 localhost\n10.0.0.2 a1.2.3.4api\n"
        );
        assert_eq!(hosts(address, ""), "127.0.0.1 localhost\n");
    }
}
