//! Who a checked access token speaks for.

use model::UserGuid;

use crate::Claims;

/// Names of the scopes the platform decides on (reference: api-surface 1.3).
pub mod scope {
    /// May do everything.
    pub const ADMIN: &str = "cloud_controller.admin";
    /// May read everything, secrets included.
    pub const ADMIN_READ_ONLY: &str = "cloud_controller.admin_read_only";
    /// May read everything but secrets.
    pub const GLOBAL_AUDITOR: &str = "cloud_controller.global_auditor";
    /// May read what its roles allow.
    pub const READ: &str = "cloud_controller.read";
    /// May change what its roles allow.
    pub const WRITE: &str = "cloud_controller.write";
    /// May set any network policy.
    pub const NETWORK_ADMIN: &str = "network.admin";
    /// May set network policies where it is a space developer.
    pub const NETWORK_WRITE: &str = "network.write";
}

/// A user or a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A person.
    User {
        /// Id in the identity server and in role rows.
        guid: UserGuid,
        /// Name it logs in with.
        name: String,
        /// Identity provider.
        origin: String,
    },
    /// A program with its own credentials.
    Client {
        /// Its name; also its guid in role rows.
        id: String,
    },
}

/// A caller of the platform, as its token proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who.
    pub subject: Subject,
    /// Client the token was issued to; equals the subject for client tokens.
    pub client_id: String,
    /// The user's address, if the token names one.
    pub email: Option<String>,
    /// What the token may be used for.
    pub scopes: Vec<String>,
}

impl Identity {
    /// The identity behind the claims, or `None` when they name a user by halves.
    pub(crate) fn from_claims(claims: Claims) -> Option<Self> {
        let subject = match (claims.user_id, claims.user_name, claims.origin) {
            (Some(guid), Some(name), Some(origin)) if guid == claims.sub => Subject::User {
                guid: UserGuid::new(guid),
                name,
                origin,
            },
            (None, None, None) if claims.sub == claims.client_id => Subject::Client { id: claims.sub },
            _ => return None,
        };
        Some(Self {
            subject,
            client_id: claims.client_id,
            email: claims.email,
            scopes: claims.scope,
        })
    }

    /// Id under which roles are held: the user's guid or the client's id, as in the reference.
    pub fn guid(&self) -> UserGuid {
        match &self.subject {
            Subject::User { guid, .. } => guid.clone(),
            Subject::Client { id } => UserGuid::new(id),
        }
    }

    /// Name to show: the user's name or the client's id.
    pub fn name(&self) -> &str {
        match &self.subject {
            Subject::User { name, .. } => name,
            Subject::Client { id } => id,
        }
    }

    /// Whether the token has this scope.
    pub fn has_scope(&self, name: &str) -> bool {
        self.scopes.iter().any(|scope| scope == name)
    }

    /// May do everything.
    pub fn is_admin(&self) -> bool {
        self.has_scope(scope::ADMIN)
    }

    /// May read everything, secrets included.
    pub fn is_admin_read_only(&self) -> bool {
        self.has_scope(scope::ADMIN_READ_ONLY)
    }

    /// May read everything but secrets.
    pub fn is_global_auditor(&self) -> bool {
        self.has_scope(scope::GLOBAL_AUDITOR)
    }

    /// Whether the token may be used to read at all; roles decide what.
    pub fn can_read(&self) -> bool {
        self.is_admin()
            || self.is_admin_read_only()
            || self.is_global_auditor()
            || self.has_scope(scope::READ)
    }

    /// Whether the token may be used to change anything at all; roles decide what.
    pub fn can_write(&self) -> bool {
        self.is_admin() || self.has_scope(scope::WRITE)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn client(scopes: &[&str]) -> Identity {
        Identity {
            subject: Subject::Client { id: "c".into() },
            client_id: "c".into(),
            email: None,
            scopes: scopes.iter().map(|&s| s.to_owned()).collect(),
        }
    }

    #[test]
    fn scopes_decide_what_a_token_is_good_for() {
        // scope, may read, may write
        for (scope, read, write) in [
            (scope::ADMIN, true, true),
            (scope::ADMIN_READ_ONLY, true, false),
            (scope::GLOBAL_AUDITOR, true, false),
            (scope::READ, true, false),
            (scope::WRITE, false, true),
            ("openid", false, false),
            ("cloud_controller.admin2", false, false),
            ("cloud_controller", false, false),
        ] {
            let identity = client(&[scope]);
            assert_eq!(
                (identity.can_read(), identity.can_write()),
                (read, write),
                "{scope}"
            );
        }
    }
}
