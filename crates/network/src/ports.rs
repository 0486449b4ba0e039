//! Which ports a process's network namespace listens on, from `/proc/<pid>/net/tcp` and `tcp6`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv6Addr};

/// A container with more sockets than fit here has its remaining ones ignored.
const READ_LIMIT: u64 = 4 * 1024 * 1024;
const STATE_LISTEN: &str = "0A";

/// TCP sockets in state "listen" in the network namespace of `pid`: bound address and port, each once,
/// in ascending order. A process that has ended is an error of kind `NotFound`.
pub fn listening_ports(pid: u32) -> io::Result<Vec<(IpAddr, u16)>> {
    let mut found = Vec::new();
    for (file, optional) in [("tcp", Presence::Always), ("tcp6", Presence::WithIpv6)] {
        let reader = match File::open(format!("/proc/{pid}/net/{file}")) {
            Ok(reader) => reader,
            Err(error) if optional == Presence::WithIpv6 && error.kind() == io::ErrorKind::NotFound => {
                continue;
            }
            Err(error) => return Err(error),
        };
        for line in BufReader::new(reader.take(READ_LIMIT)).lines() {
            found.extend(listener(&line?));
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Always,
    WithIpv6,
}

/// Fields: slot, local address, remote address, state.
fn listener(line: &str) -> Option<(IpAddr, u16)> {
    let mut fields = line.split_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    (fields.nth(1)? == STATE_LISTEN).then_some(())?;
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
    fn listeners_are_told_from_connections() {
        let check = |line: &str| listener(line).map(|(address, port)| format!("{address} {port}"));
        let v4 =
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1";
        assert_eq!(check(v4).as_deref(), Some("127.0.0.1 8080"));
        assert_eq!(check(&v4.replace(" 0A ", " 01 ")), None);
        let v6 = "   1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0";
        assert_eq!(check(v6).as_deref(), Some("::1 80"));
        for bad in [
            "",
            "sl local_address rem_address st",
            "0: ä:1F90 x 0A",
            "0: 0100007F 0 0A",
            "0: 01:1 0 0A",
        ] {
            assert_eq!(check(bad), None, "{bad}");
        }
    }
}
