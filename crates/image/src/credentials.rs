//! A user name and a password for a registry.

use std::fmt;

/// What a user gave for a private image. `_json_key` and token user names are ordinary user names here.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// User name; may not hold a colon (RFC 7617, section 2).
    pub username: String,
    /// Password or token, any characters.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &"***")
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_never_printed() {
        let text = format!(
            "{:?}",
            Credentials {
                username: "u".to_owned(),
                password: "hunter2".to_owned()
            }
        );
        assert!(!text.contains("hunter2") && text.contains("***"), "{text}");
    }
}
