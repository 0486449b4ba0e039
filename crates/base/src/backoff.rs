//! Pauses between retries: doubling, capped, with jitter so that many clients do not retry at once.

use std::time::Duration;

/// An exponential back-off. Each call of [`Backoff::next`] gives the next pause.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    tries: u32,
}

impl Backoff {
    /// Pauses of `first`, 2·`first`, 4·`first`… never above `cap`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, tries: 0 }
    }

    /// The next pause: between half and the whole of the nominal value.
    pub fn next_pause(&mut self) -> Duration {
        let nominal = self
            .first
            .saturating_mul(1u32.checked_shl(self.tries.min(20)).unwrap_or(u32::MAX))
            .min(self.cap);
        self.tries = self.tries.saturating_add(1);
        nominal / 2 + nominal.mul_f64(rand::random::<f64>() / 2.0)
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap_and_stay() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for nominal in [100, 200, 400, 800, 1000, 1000] {
            let pause = backoff.next_pause().as_millis();
            assert!((nominal / 2..=nominal).contains(&pause), "{pause} for {nominal}");
        }
        backoff.reset();
        assert!(backoff.next_pause() <= Duration::from_millis(100));
    }
}
