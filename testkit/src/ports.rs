//! Ports for servers that a test starts as processes: free ones, and from a range that the system gives to nobody by
//! itself, so that they stay free until the server binds them, and between its end and its next start.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Context;

/// Below Linux's own range for outgoing connections, which begins at 32768.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of the loopback address that nobody listens on; each is given once by this process.
///
/// # Errors
/// When none of the range is free.
pub fn free() -> anyhow::Result<u16> {
    // Processes begin at different places, so that they seldom try the same port.
    let offset = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or_default();
    let candidates = (0..COUNT).map(|_| {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        FIRST + (offset.wrapping_mul(7) % COUNT + step) % COUNT
    });
    candidates
        .into_iter()
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .context("no free port between 20000 and 32000")
}

#[cfg(test)]
mod tests {
    #[test]
    fn ports_differ_and_are_free() {
        let (one, two) = (super::free().unwrap(), super::free().unwrap());
        assert_ne!(one, two);
        assert!((20_000..32_000).contains(&one));
        assert!(std::net::TcpListener::bind(("127.0.0.1", one)).is_ok());
    }
}
