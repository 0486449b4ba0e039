//! Who may read which log, and who may push and pull in the platform's own registry.
//!
//! A repository of the own registry is named `ORG/SPACE/IMAGE`, with org and space in lower case and everything that a
//! repository name cannot hold turned into a hyphen. Reading needs a role that sees the space, writing one that may
//! push apps there. Clients log in with a platform user's name and password, or with any name and an access token; the
//! platform itself pulls with a token that opens one space.

use std::sync::Arc;

use api::State;
use api::caller::{Caller, org_status};
use auth::{RegistryAccess, RegistryGrant, Secret, Verifier, verify_password};
use futures_util::future::BoxFuture;
use logs::ReadAccess;
use registry::{Access, Action, Presented, Verdict};
use store::{Query, app, org, space, user};
use tokio::sync::Semaphore;

/// Log reading, decided as the API decides about the app.
pub struct LogAccess(pub State);

impl ReadAccess for LogAccess {
    fn may_read<'a>(&'a self, authorization: Option<&'a str>, source_id: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let Some(header) = authorization else { return false };
            let Ok(caller) = Caller::from_token(&self.0, header).await else {
                return false;
            };
            let Ok(tx) = self.0.store.read().await else {
                return false;
            };
            match tx.find::<app::Entity>(source_id).await {
                Ok(Some(row)) => caller
                    .demand(&tx, api::caller::Right::Read, &row.space_guid, "App")
                    .await
                    .is_ok(),
                // Lines of an app that is gone stay with those who may see everything.
                Ok(None) => caller.permissions.can_read_globally(),
                Err(_) => false,
            }
        })
    }
}

/// The own registry's guard.
pub struct RegistryGuard {
    state: State,
    verifier: Arc<Verifier>,
    /// Password hashing is meant to be slow; two at a time leave the machine usable.
    hashing: Semaphore,
}

/// Who presents credentials.
enum Guest {
    /// The platform, for one space.
    Platform(RegistryGrant),
    /// A person or a program.
    Caller(Box<Caller>),
}

impl RegistryGuard {
    /// A guard that asks the API's state.
    pub fn new(state: State, verifier: Arc<Verifier>) -> Self {
        Self {
            state,
            verifier,
            hashing: Semaphore::new(2),
        }
    }

    async fn recognise(&self, presented: Presented) -> Option<Guest> {
        match presented {
            Presented::Nothing => None,
            Presented::Bearer(token) => self.by_token(&token).await,
            Presented::Basic { username, password } => match self.by_token(&password).await {
                Some(guest) => Some(guest),
                None => self.by_password(&username, password).await,
            },
        }
    }

    async fn by_token(&self, token: &str) -> Option<Guest> {
        let now = self.state.store.clock().now();
        if let Ok(grant) = self.verifier.verify_registry(token, now) {
            return Some(Guest::Platform(grant));
        }
        Caller::from_token(&self.state, token)
            .await
            .ok()
            .map(|caller| Guest::Caller(Box::new(caller)))
    }

    async fn by_password(&self, username: &str, password: String) -> Option<Guest> {
        let query = Query::<user::Entity>::new()
            .eq(user::Column::Username, username)
            .eq(user::Column::Origin, "uaa");
        let row = self.state.store.read().await.ok()?.one(query).await.ok()?;
        let hash = row.as_ref().and_then(|row| row.password_hash.clone());
        let _turn = self.hashing.acquire().await.ok()?;
        let password = Secret::new(password);
        let check = move || verify_password(password.expose(), hash.as_deref());
        if !tokio::task::spawn_blocking(check).await.unwrap_or(false) {
            return None;
        }
        let row = row?;
        let identity = auth::Identity {
            subject: auth::Subject::User {
                guid: row.guid.as_str().into(),
                name: row.username,
                origin: row.origin,
            },
            client_id: "registry".to_owned(),
            email: None,
            scopes: row.scopes.split_whitespace().map(str::to_owned).collect(),
        };
        Caller::of(&self.state, identity)
            .await
            .ok()
            .map(|caller| Guest::Caller(Box::new(caller)))
    }

    async fn decide(&self, guest: &Guest, repository: &str, action: Action) -> Verdict {
        let Some((org, space)) = self.home(repository).await else {
            return Verdict::Deny;
        };
        let allowed = match guest {
            Guest::Platform(grant) => {
                grant.space.as_str() == space
                    && (action == Action::Pull || grant.access == RegistryAccess::PullPush)
            }
            Guest::Caller(caller) => {
                let (org_guid, space_guid) = (org.as_str().into(), space.as_str().into());
                match action {
                    Action::Pull => caller.permissions.can_read_space(&org_guid, &space_guid),
                    Action::Push => self.may_push(caller, &org, &space).await,
                }
            }
        };
        if allowed { Verdict::Allow } else { Verdict::Deny }
    }

    async fn may_push(&self, caller: &Caller, org: &str, space: &str) -> bool {
        let Ok(tx) = self.state.store.read().await else {
            return false;
        };
        match org_status(&tx, org).await {
            Ok(status) => caller
                .permissions
                .can_write_space(&org.into(), &space.into(), status)
                .is_ok(),
            Err(_) => false,
        }
    }

    /// Guids of the org and space that a repository belongs to.
    async fn home(&self, repository: &str) -> Option<(String, String)> {
        let mut parts = repository.splitn(3, '/');
        let (org_name, space_name, _) = (parts.next()?, parts.next()?, parts.next()?);
        let tx = self.state.store.read().await.ok()?;
        let orgs = tx.all(Query::<org::Entity>::new()).await.ok()?;
        let org = only(
            orgs.into_iter()
                .filter(|row| repository_name(&row.name) == org_name),
        )?;
        let spaces = tx
            .all(Query::<space::Entity>::new().eq(space::Column::OrgGuid, &org.guid))
            .await
            .ok()?;
        let space = only(
            spaces
                .into_iter()
                .filter(|row| repository_name(&row.name) == space_name),
        )?;
        Some((org.guid, space.guid))
    }
}

/// The only item, if there is exactly one: two orgs whose names fold to the same must not share a repository.
fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}

/// An org's or space's name as a part of a repository name.
pub fn repository_name(name: &str) -> String {
    let folded: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let parts: Vec<&str> = folded.split('-').filter(|part| !part.is_empty()).collect();
    parts.join("-")
}

impl Access for RegistryGuard {
    fn authorize<'a>(
        &'a self,
        presented: Presented,
        repository: &'a str,
        action: Action,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            match self.recognise(presented).await {
                None => Verdict::Unauthenticated,
                Some(_) if repository.is_empty() => Verdict::Allow,
                Some(guest) => self.decide(&guest, repository, action).await,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::repository_name;

    #[test]
    fn names_fold_to_repository_parts() {
        for (name, part) in [
            ("Acme", "acme"),
            ("My Org!", "my-org"),
            ("a_b.c", "a-b-c"),
            ("--x--", "x"),
        ] {
            assert_eq!(repository_name(name), part);
        }
    }
}
