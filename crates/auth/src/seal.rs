//! Encryption of secrets at rest: AES-256-GCM with a ring of keys, so that the key can be changed.
//!
//! A sealed text is `v1.<key id>.<base64url(nonce ‖ ciphertext ‖ tag)>`. The version, the key id and the caller's
//! context (which row and column it belongs to) are authenticated, so a sealed value copied to another row does
//! not open. New values are sealed with the current key; older keys only open. To rotate: make a new key current,
//! keep the old one in the ring, rewrite every row for which [`Sealer::is_current`] says no, then drop the old key.
//!
//! Nonces are random 96-bit numbers (NIST SP 800-38D, 8.2.2): one key must not seal more than 2^32 values.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::Secret;
use crate::random::random_bytes;

const VERSION: &str = "v1";

/// One key of the ring. The caller stores [`SealKey::to_text`] where only the platform can read it.
#[derive(Clone)]
pub struct SealKey {
    id: u32,
    bytes: [u8; 32],
}

/// Why a sealed value did not open, or a key was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Two keys of the ring share an id.
    #[error("two sealing keys have the id {0}; give the new key an id never used before")]
    DuplicateKey(u32),
    /// The text is not a sealing key.
    #[error("not a sealing key: expected <id>:<64 hex digits>")]
    BadKey,
    /// The text is not a sealed value of a version this program knows.
    #[error("not a sealed value of a known version; was it written by a newer release?")]
    Malformed,
    /// The key it was sealed with is not in the ring.
    #[error("sealed with key {0}, which is not configured; add it to the older sealing keys")]
    UnknownKey(u32),
    /// Wrong key bytes, a changed value, or a value moved from another place.
    #[error("the sealed value does not authenticate: it was changed, moved, or key {0} has other bytes")]
    Rejected(u32),
    /// It opened, but is not text.
    #[error("the sealed value is not UTF-8 text")]
    NotText,
}

/// Seals and opens secrets.
pub struct Sealer {
    current: u32,
    ring: BTreeMap<u32, LessSafeKey>,
}

impl SealKey {
    /// A key from its parts. `id` must never be reused for other bytes.
    pub fn new(id: u32, bytes: [u8; 32]) -> Self {
        Self { id, bytes }
    }

    /// A fresh random key.
    pub fn generate(id: u32) -> Self {
        Self::new(id, random_bytes())
    }

    /// `<id>:<64 hex digits>`, for a file only the platform can read.
    pub fn to_text(&self) -> Secret {
        let hex: String = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Secret::new(format!("{}:{hex}", self.id))
    }

    /// Reads what [`SealKey::to_text`] wrote; surrounding white space is ignored.
    pub fn from_text(text: &str) -> Result<Self, SealError> {
        let (id, hex) = text.trim().split_once(':').ok_or(SealError::BadKey)?;
        let id = id.parse().map_err(|_| SealError::BadKey)?;
        let digits: Vec<u8> = hex
            .chars()
            .map(|c| c.to_digit(16).map(|d| d as u8))
            .collect::<Option<_>>()
            .ok_or(SealError::BadKey)?;
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |sum, d| sum << 4 | d))
            .collect();
        let whole = digits.len() == 64;
        let bytes = <[u8; 32]>::try_from(bytes)
            .ok()
            .filter(|_| whole)
            .ok_or(SealError::BadKey)?;
        Ok(Self::new(id, bytes))
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKey({}, ***)", self.id)
    }
}

impl Sealer {
    /// A ring that seals with `current` and opens with any of the keys.
    pub fn new(current: SealKey, older: impl IntoIterator<Item = SealKey>) -> Result<Self, SealError> {
        let current_id = current.id;
        let mut ring = BTreeMap::new();
        for key in std::iter::once(current).chain(older) {
            let unbound =
                UnboundKey::new(&AES_256_GCM, &key.bytes).expect("the key is 32 bytes, as AES-256 wants");
            if ring.insert(key.id, LessSafeKey::new(unbound)).is_some() {
                return Err(SealError::DuplicateKey(key.id));
            }
        }
        Ok(Self {
            current: current_id,
            ring,
        })
    }

    /// Encrypts `plaintext` for one place. `context` names that place (for example
    /// `package/<guid>/docker_password`); opening needs the same context.
    pub fn seal(&self, plaintext: &str, context: &str) -> String {
        let nonce = random_bytes::<NONCE_LEN>();
        let mut body = plaintext.as_bytes().to_vec();
        self.ring[&self.current]
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                aad(self.current, context),
                &mut body,
            )
            .expect("only a text beyond 64 GiB cannot be sealed");
        let framed = [nonce.as_slice(), &body].concat();
        format!("{VERSION}.{}.{}", self.current, URL_SAFE_NO_PAD.encode(framed))
    }

    /// Decrypts what [`Sealer::seal`] made for the same context.
    pub fn open(&self, sealed: &str, context: &str) -> Result<Secret, SealError> {
        let (id, body) = split(sealed)?;
        let key = self.ring.get(&id).ok_or(SealError::UnknownKey(id))?;
        let framed = URL_SAFE_NO_PAD.decode(body).map_err(|_| SealError::Malformed)?;
        let (nonce, body) = framed.split_at_checked(NONCE_LEN).ok_or(SealError::Malformed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Malformed)?;
        let mut body = body.to_vec();
        let plain = key
            .open_in_place(nonce, aad(id, context), &mut body)
            .map_err(|_| SealError::Rejected(id))?;
        String::from_utf8(plain.to_vec())
            .map(Secret::new)
            .map_err(|_| SealError::NotText)
    }

    /// Whether the value was sealed with the current key; if not, it should be sealed again.
    pub fn is_current(&self, sealed: &str) -> bool {
        split(sealed).is_ok_and(|(id, _)| id == self.current)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Sealer(current {}, ring {:?})",
            self.current,
            self.ring.keys().collect::<Vec<_>>()
        )
    }
}

fn aad(id: u32, context: &str) -> Aad<Vec<u8>> {
    Aad::from(format!("{VERSION}.{id}.{context}").into_bytes())
}

fn split(sealed: &str) -> Result<(u32, &str), SealError> {
    let rest = sealed
        .strip_prefix(VERSION)
        .and_then(|rest| rest.strip_prefix('.'))
        .ok_or(SealError::Malformed)?;
    let (id, body) = rest.split_once('.').ok_or(SealError::Malformed)?;
    Ok((id.parse().map_err(|_| SealError::Malformed)?, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer() -> Sealer {
        Sealer::new(SealKey::new(2, [2; 32]), [SealKey::new(1, [1; 32])]).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_only() {
        let sealer = sealer();
        for text in ["", "s3cret", "ünïcode \u{1f512}", &"x".repeat(100_000)] {
            let sealed = sealer.seal(text, "app/a/env");
            assert!(text.is_empty() || !sealed.contains(text));
            assert_eq!(sealer.open(&sealed, "app/a/env").unwrap().expose(), text);
            assert_eq!(
                sealer.open(&sealed, "app/b/env").unwrap_err(),
                SealError::Rejected(2)
            );
        }
        assert_ne!(sealer.seal("x", "c"), sealer.seal("x", "c"));
    }

    #[test]
    fn rotation_opens_old_values_and_says_what_is_old() {
        let old = Sealer::new(SealKey::new(1, [1; 32]), []).unwrap().seal("x", "c");
        let sealer = sealer();
        assert_eq!(sealer.open(&old, "c").unwrap().expose(), "x");
        assert!(!sealer.is_current(&old));
        assert!(sealer.is_current(&sealer.seal("x", "c")));
        let other = Sealer::new(SealKey::new(3, [3; 32]), []).unwrap();
        assert_eq!(other.open(&old, "c").unwrap_err(), SealError::UnknownKey(1));
        let twin = Sealer::new(SealKey::new(1, [9; 32]), []).unwrap();
        assert_eq!(twin.open(&old, "c").unwrap_err(), SealError::Rejected(1));
    }

    #[test]
    fn any_changed_character_is_noticed() {
        let sealer = sealer();
        let sealed = sealer.seal("s3cret", "c");
        for at in 0..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(
                sealer.open(std::str::from_utf8(&bytes).unwrap(), "c").is_err(),
                "at {at}"
            );
            assert!(sealer.open(&sealed[..at], "c").is_err(), "cut at {at}");
        }
    }

    #[test]
    fn keys_round_trip_as_text_and_do_not_print() {
        let key = SealKey::generate(7);
        let text = key.to_text();
        let back = SealKey::from_text(&format!("{}\n", text.expose())).unwrap();
        assert_eq!((back.id, back.bytes), (key.id, key.bytes));
        assert_eq!(format!("{key:?}"), "SealKey(7, ***)");
        let short = format!("1:{}", "0".repeat(63));
        for bad in ["", "7", "x:00", "7:zz", &short, &format!("{short}000"), "1:é"] {
            assert_eq!(SealKey::from_text(bad).unwrap_err(), SealError::BadKey, "{bad}");
        }
    }

    #[test]
    fn a_key_id_belongs_to_one_key() {
        let ring = Sealer::new(SealKey::new(1, [0; 32]), [SealKey::new(1, [1; 32])]);
        assert_eq!(ring.unwrap_err(), SealError::DuplicateKey(1));
    }
}
