//! Why an app that runs may still not be reached, read from the sockets it listens on.

use std::net::IpAddr;

/// A hint to append to "never healthy": what the app listens on instead of `wanted`. Empty when nothing helpful is
/// known.
pub(crate) fn listening_hint(wanted: &[u16], listening: &[(IpAddr, u16)]) -> String {
    let reachable = |port: &u16| {
        listening
            .iter()
            .any(|(address, open)| open == port && !address.is_loopback())
    };
    let missing: Vec<u16> = wanted.iter().copied().filter(|port| !reachable(port)).collect();
    let Some(port) = missing.first() else {
        return String::new();
    };
    if listening
        .iter()
        .any(|(address, open)| open == port && address.is_loopback())
    {
        return format!(
            "; the app listens on port {port} of 127.0.0.1 only, where nobody outside its container can reach it: \
             make it listen on 0.0.0.0"
        );
    }
    let mut others: Vec<u16> = listening.iter().map(|(_, open)| *open).collect();
    others.sort_unstable();
    others.dedup();
    if others.is_empty() {
        return format!("; the app listens on no port at all: make it listen on 0.0.0.0:{port}");
    }
    let others: Vec<String> = others.iter().take(5).map(u16::to_string).collect();
    format!(
        "; the app listens on port {} instead of {port}: make it listen on the port in its environment variable PORT",
        others.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn the_hint_names_what_is_wrong() {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let any6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        for (listening, expected) in [
            (vec![(any, 8080)], ""),
            (vec![(any6, 8080), (local, 8080)], ""),
            (vec![(local, 8080), (any, 3000)], "port 8080 of 127.0.0.1 only"),
            (vec![], "listens on no port at all"),
            (
                vec![(any, 5000), (any, 3000), (any6, 3000)],
                "port 3000, 5000 instead of 8080",
            ),
        ] {
            let hint = listening_hint(&[8080], &listening);
            assert!(
                hint.contains(expected) && hint.is_empty() == expected.is_empty(),
                "{hint}"
            );
        }
    }
}
