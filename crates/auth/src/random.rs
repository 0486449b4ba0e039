//! Randomness from the operating system, in the shapes this crate's callers need.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::Secret;

/// Unpredictable bytes.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the kernel's random source never fails once the machine is up");
    bytes
}

/// 128 random bits as 32 lower-case hex digits: token ids, one-time codes that are looked up, not guessed.
pub fn random_hex() -> String {
    random_bytes::<16>()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// 256 random bits as URL-safe text: a generated password, client secret or one-time code.
pub fn random_secret() -> Secret {
    Secret::new(URL_SAFE_NO_PAD.encode(random_bytes::<32>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_long_and_differ() {
        assert_eq!(random_hex().len(), 32);
        assert_ne!(random_hex(), random_hex());
        assert_eq!(random_secret().expose().len(), 43);
        assert!(!random_secret().matches(random_secret().expose()));
    }
}
