//! The rows of users and clients, in this crate's terms.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use store::{Query, StoreError, Tx, client, user};

/// The one identity provider: the platform's own.
pub const ORIGIN: &str = "uaa";

/// Scopes of every user; roles decide the rest. (UAA's default groups that mean something here.)
pub const USER_SCOPES: &[&str] = &[
    "cloud_controller.read",
    "cloud_controller.write",
    "network.write",
    "openid",
    "password.write",
    "uaa.user",
];

/// A column that holds words.
pub(crate) fn words(column: &str) -> Vec<String> {
    column.split_whitespace().map(str::to_owned).collect()
}

/// Whether a column that holds words has this one.
pub(crate) fn has_word(column: &str, word: &str) -> bool {
    column.split_whitespace().any(|held| held == word)
}

/// A column that holds words, sorted and without doubles.
pub(crate) fn column<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: BTreeSet<&str> = words.into_iter().collect();
    words.into_iter().collect::<Vec<_>>().join(" ")
}

/// A fingerprint of what the user's tokens were given for: changes when the password, the client's secret or the
/// user's revision does. 64 bits of a digest over a salted hash give nothing away.
pub(crate) fn user_rev_sig(user: &user::Model, client: &client::Model) -> String {
    let revision = user.revision.to_string();
    let password = user.password_hash.as_deref().unwrap_or_default();
    fingerprint(&[&user.guid, &revision, password, &client.secret_hash])
}

/// The same for a client's own tokens.
pub(crate) fn client_rev_sig(client: &client::Model) -> String {
    fingerprint(&[&client.guid, &client.secret_hash])
}

fn fingerprint(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_le_bytes());
        digest.update(part.as_bytes());
    }
    let digest = digest.finalize();
    hex::encode(digest.iter().take(8).copied().collect::<Vec<u8>>())
}

/// The platform's own user of this name.
pub(crate) async fn by_name(tx: &Tx, name: &str) -> Result<Option<user::Model>, StoreError> {
    let query = Query::<user::Entity>::new()
        .eq(user::Column::Username, name)
        .eq(user::Column::Origin, ORIGIN);
    tx.one(query).await
}

/// The user with this id. Rows the API made for clients have no origin and are no users here.
pub(crate) async fn by_guid(tx: &Tx, guid: &str) -> Result<Option<user::Model>, StoreError> {
    let found = tx.find::<user::Entity>(guid).await?;
    Ok(found.filter(|user| !user.origin.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip() {
        assert_eq!(column(["b", "a", "b"]), "a b");
        assert_eq!(words(" a  b "), ["a", "b"]);
        assert!(has_word("scim.read scim.write", "scim.read"));
        assert!(!has_word("scim.read scim.write", "scim"));
    }

    #[test]
    fn fingerprints_see_where_parts_end() {
        assert_ne!(fingerprint(&["ab", "c"]), fingerprint(&["a", "bc"]));
        assert_eq!(fingerprint(&["a"]).len(), 16);
    }
}
