//! Password and client-secret hashes: argon2id, stored as PHC strings.
//!
//! One hash costs about 19 MiB and tens of milliseconds, on purpose (OWASP password storage, argon2id m=19456 t=2
//! p=1). Callers run it off the async threads and bound how many run at once. [`verify_password`] does the same
//! work whether or not the user exists, so that answering time does not tell.

use std::sync::LazyLock;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::random::random_bytes;

/// Longest password accepted, in bytes; hashing is linear in it.
const MAX_BYTES: usize = 1024;
const SALT_BYTES: usize = 16;

/// Checked instead of the hash of a user who does not exist. Nothing matches it: its password is random.
static NOBODY: LazyLock<String> =
    LazyLock::new(|| phc(&random_bytes::<32>()).expect("32 bytes are a valid argon2 password"));

/// Why a password was not hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Longer than the limit.
    #[error("the password is longer than {MAX_BYTES} bytes; choose a shorter one")]
    TooLong,
    /// argon2 refused, which it does only for lengths beyond its own limits.
    #[error("the password could not be hashed")]
    Hash(#[source] argon2::password_hash::Error),
}

/// The PHC string to store for this password. The empty password is accepted: the `cf` client's secret is empty.
pub fn hash_password(password: &str) -> Result<String, PasswordError> {
    if password.len() > MAX_BYTES {
        return Err(PasswordError::TooLong);
    }
    phc(password.as_bytes()).map_err(PasswordError::Hash)
}

/// Whether `password` is the one behind `stored`. Pass `None` when there is no such user: the answer is no, after
/// the same work. A stored text that is no PHC string matches nothing.
pub fn verify_password(password: &str, stored: Option<&str>) -> bool {
    let nobody = NOBODY.as_str();
    let known = stored.and_then(|text| PasswordHash::new(text).ok());
    let exists = known.is_some() && password.len() <= MAX_BYTES;
    let hash = match known.filter(|_| exists) {
        Some(hash) => hash,
        None => PasswordHash::new(nobody).expect("this module made it"),
    };
    let tried = password.get(..MAX_BYTES.min(password.len())).unwrap_or_default();
    let matches = hasher().verify_password(tried.as_bytes(), &hash).is_ok();
    matches && exists
}

/// Whether the stored hash was made with other costs than today's and should be replaced at the next login.
pub fn needs_rehash(stored: &str) -> bool {
    let Ok(hash) = PasswordHash::new(stored) else {
        return true;
    };
    let current = hash.algorithm.as_str() == Algorithm::Argon2id.as_str()
        && hash.version == Some(Version::V0x13.into());
    let Ok(params) = Params::try_from(&hash) else {
        return true;
    };
    let costs = |p: &Params| (p.m_cost(), p.t_cost(), p.p_cost());
    !current || costs(&params) != costs(&Params::DEFAULT)
}

fn hasher() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

fn phc(password: &[u8]) -> Result<String, argon2::password_hash::Error> {
    let hash: PasswordHash = hasher().hash_password_with_salt(password, &random_bytes::<SALT_BYTES>())?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_password_matches_and_no_other() {
        let stored = hash_password("correct horse").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(verify_password("correct horse", Some(&stored)));
        for wrong in ["", "correct hors", "Correct horse", "correct horse "] {
            assert!(!verify_password(wrong, Some(&stored)), "{wrong}");
        }
        assert_ne!(stored, hash_password("correct horse").unwrap());
    }

    #[test]
    fn the_empty_secret_is_a_secret() {
        let stored = hash_password("").unwrap();
        assert!(verify_password("", Some(&stored)));
        assert!(!verify_password("x", Some(&stored)));
    }

    #[test]
    fn nobody_and_broken_hashes_match_nothing() {
        for stored in [
            None,
            Some(""),
            Some("plain"),
            Some("$argon2id$"),
            Some("$2b$10$abc"),
        ] {
            assert!(!verify_password("", stored), "{stored:?}");
            assert!(!verify_password("plain", stored), "{stored:?}");
        }
    }

    #[test]
    fn a_password_is_never_cut_to_fit() {
        let longest = "x".repeat(MAX_BYTES);
        let stored = hash_password(&longest).unwrap();
        assert!(verify_password(&longest, Some(&stored)));
        assert!(!verify_password(&format!("{longest}x"), Some(&stored)));
        assert_eq!(hash_password(&format!("{longest}x")), Err(PasswordError::TooLong));
    }

    #[test]
    fn old_costs_ask_for_a_new_hash() {
        assert!(!needs_rehash(&hash_password("x").unwrap()));
        let weak = Argon2::new(
            Algorithm::Argon2id,
            Version::V0x13,
            Params::new(64, 1, 1, None).unwrap(),
        );
        let hash: PasswordHash = weak.hash_password_with_salt(b"x", &[0; 16]).unwrap();
        assert!(needs_rehash(&hash.to_string()));
        assert!(verify_password("x", Some(&hash.to_string())));
        assert!(needs_rehash("garbage"));
    }
}
