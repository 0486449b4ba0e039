//! The TCP sockets of a process's network namespace, from `/proc/<pid>/net/tcp` and `tcp6`: which ports it listens on,
//! and how many connections it serves.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv6Addr};

/// A container with more sockets than fit here has its remaining ones ignored.
const READ_LIMIT: u64 = 4 * 1024 * 1024;
const LISTEN: &str = "0A";
const ESTABLISHED: &str = "01";

/// TCP sockets in state "listen" in the network namespace of `pid`: bound address and port, each once,
/// in ascending order. A process that has ended is an error of kind `NotFound`.
pub fn listening_ports(pid: u32) -> io::Result<Vec<(IpAddr, u16)>> {
    let mut found = Vec::new();
    each_socket(pid, |local, _, state| {
        if state == LISTEN {
            found.extend(socket(local));
        }
    })?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// How many established connections the network namespace of `pid` has on these local ports, those from itself left
/// out: requests that others have in flight there. A process that has ended is an error of kind `NotFound`.
pub fn connections_served(pid: u32, ports: &[u16]) -> io::Result<usize> {
    let mut count = 0;
    each_socket(pid, |local, remote, state| {
        let ours = socket(local).is_some_and(|(_, port)| ports.contains(&port));
        let foreign = socket(remote).is_some_and(|(address, _)| !address.to_canonical().is_loopback());
        count += usize::from(state == ESTABLISHED && ours && foreign);
    })?;
    Ok(count)
}

/// Calls `look` with local address, remote address and state of each socket.
fn each_socket(pid: u32, mut look: impl FnMut(&str, &str, &str)) -> io::Result<()> {
    for (file, optional) in [("tcp", Presence::Always), ("tcp6", Presence::WithIpv6)] {
        let reader = match File::open(format!("/proc/{pid}/net/{file}")) {
            Ok(reader) => reader,
            Err(error) if optional == Presence::WithIpv6 && error.kind() == io::ErrorKind::NotFound => {
                continue;
            }
            Err(error) => return Err(error),
        };
        for line in BufReader::new(reader.take(READ_LIMIT)).lines() {
            let line = line?;
            // Fields: slot, local address, remote address, state.
            let mut fields = line.split_whitespace().skip(1);
            if let (Some(local), Some(remote), Some(state)) = (fields.next(), fields.next(), fields.next()) {
                look(local, remote, state);
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Always,
    WithIpv6,
}

/// `ADDRESS:PORT`, both hexadecimal.
fn socket(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    Some((parse_address(address)?, u16::from_str_radix(port, 16).ok()?))
}

/// The kernel prints each 32-bit word of the address as a number of this machine's byte order.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let number = u32::from_str_radix(text.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(number.to_ne_bytes())
    };
    match text.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (at, chunk) in octets.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            Some(IpAddr::from(Ipv6Addr::from(octets)))
        }
        _ => None,
    }
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_the_kernels_order() {
        let check = |text: &str| socket(text).map(|(address, port)| format!("{address} {port}"));
        assert_eq!(check("0100007F:1F90").as_deref(), Some("127.0.0.1 8080"));
        assert_eq!(
            check("00000000000000000000000001000000:0050").as_deref(),
            Some("::1 80")
        );
        for bad in [
            "",
            "local_address",
            "ä:1F90",
            "0100007F",
            "01:1",
            "0100007F:10000",
        ] {
            assert_eq!(check(bad), None, "{bad}");
        }
    }

    #[test]
    fn own_sockets_are_seen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let pid = std::process::id();
        assert!(
            listening_ports(pid)
                .unwrap()
                .contains(&(address.ip(), address.port()))
        );
        assert_eq!(
            connections_served(pid, &[address.port()]).unwrap(),
            0,
            "loopback is not foreign"
        );
    }
}
