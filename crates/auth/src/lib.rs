//! Who someone is and what they may do: tokens, password hashes, sealed secrets, roles and permissions.
//!
//! Knows no I/O, no HTTP and no database. Time is a parameter; keys, hashes and roles come from the caller, who
//! also stores them. The only outside source is the operating system's randomness for keys, nonces, salts and
//! token ids.
//!
//! | file | what |
//! |---|---|
//! | `keys.rs` | the RSA key that signs tokens, its public form (JWK) |
//! | `claims.rs`, `mint.rs`, `verify.rs`, `identity.rs` | tokens: what they say, making them, checking them |
//! | `password.rs` | argon2id hashes, constant work for unknown users |
//! | `secret.rs`, `seal.rs` | text that does not print; encryption at rest with a key ring |
//! | `role.rs`, `permissions.rs` | the eight roles, and the answers that follow from them |

mod claims;
mod identity;
mod keys;
mod mint;
mod password;
mod permissions;
mod random;
mod role;
mod seal;
mod secret;
mod verify;

pub use claims::{Claims, RegistryAccess, RegistryGrant};
pub use identity::{Identity, Subject, scope};
pub use keys::{Jwk, KeyError, SigningKey};
pub use mint::{ClientGrant, Life, Minted, Minter, UserGrant};
pub use password::{PasswordError, hash_password, needs_rehash, verify_password};
pub use permissions::{Forbidden, OrgStatus, Permissions, Scope};
pub use random::{random_hex, random_secret};
pub use role::{HeldRole, Role, UnknownRole};
pub use seal::{SealError, SealKey, Sealer};
pub use secret::Secret;
pub use verify::{LEEWAY_SECS, MAX_TOKEN_BYTES, TokenError, Verifier};
