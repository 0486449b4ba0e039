//! Who calls: the token checked, the roles read, the permissions ready.

use auth::{Forbidden, HeldRole, Identity, OrgStatus, Permissions, Role, Scope, Subject};
use axum::extract::FromRequestParts;
use axum::http::Method;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use model::{OrgGuid, SpaceGuid};
use store::{Noun, Query, StoreError, Tx, org, role, space, user};

use crate::State;
use crate::error::ApiError;

/// The caller of a request. Extracting it demands a valid token with the scope the method needs.
#[derive(Debug, Clone)]
pub struct Caller {
    /// What the token proves.
    pub identity: Identity,
    /// What the roles allow.
    pub permissions: Permissions,
}

impl FromRequestParts<State> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let header = parts
            .headers
            .get(AUTHORIZATION)
            .ok_or_else(ApiError::not_authenticated)?;
        let text = header.to_str().map_err(|_| ApiError::invalid_token())?;
        let caller = Self::from_token(state, text).await?;
        let allowed = match parts.method {
            Method::GET | Method::HEAD => caller.identity.can_read(),
            _ => caller.identity.can_write(),
        };
        if allowed {
            Ok(caller)
        } else {
            Err(ApiError::not_authorized())
        }
    }
}

impl Caller {
    /// The caller behind an `Authorization` header.
    pub async fn from_token(state: &State, header: &str) -> Result<Self, ApiError> {
        let now = state.store.clock().now();
        let identity = state
            .verifier
            .verify(header, now)
            .map_err(|_| ApiError::invalid_token())?;
        Self::of(state, identity).await
    }

    /// The caller with this identity, however it was proved.
    pub async fn of(state: &State, identity: Identity) -> Result<Self, ApiError> {
        let tx = state.store.read().await?;
        if let Subject::User { guid, .. } = &identity.subject
            && tx.find::<user::Entity>(guid.as_str()).await?.is_none()
        {
            // A deleted user's tokens end here, not when they expire.
            return Err(ApiError::invalid_token());
        }
        let held = tx
            .all(Query::<role::Entity>::new().eq(role::Column::UserGuid, identity.guid().as_str()))
            .await?;
        let held = held.into_iter().filter_map(|row| {
            Some(HeldRole {
                role: row.kind.parse::<Role>().ok()?,
                org: OrgGuid::new(row.org_guid),
                space: (!row.space_guid.is_empty()).then(|| SpaceGuid::new(row.space_guid)),
            })
        });
        Ok(Self {
            permissions: Permissions::new(&identity, held),
            identity,
        })
    }

    /// Only for admins; anyone else is refused with 403.
    pub fn demand_admin(&self) -> Result<(), ApiError> {
        if self.identity.is_admin() {
            Ok(())
        } else {
            Err(ApiError::not_authorized())
        }
    }

    /// The organization, if the caller may see it; else 404.
    pub async fn org(&self, tx: &Tx, guid: &str) -> Result<org::Model, ApiError> {
        let row = tx.get::<org::Entity>(guid).await?;
        if self.permissions.can_read_org(&OrgGuid::new(guid)) {
            Ok(row)
        } else {
            Err(ApiError::not_found("Organization"))
        }
    }

    /// The space, if the caller may see it; else 404.
    pub async fn space(&self, tx: &Tx, guid: &str) -> Result<space::Model, ApiError> {
        let row = tx.get::<space::Entity>(guid).await?;
        if self
            .permissions
            .can_read_space(&row.org_guid.as_str().into(), &guid.into())
        {
            Ok(row)
        } else {
            Err(ApiError::not_found("Space"))
        }
    }

    /// Answers whether the caller may do something in a space. `noun` is what a caller who cannot see the space is
    /// told does not exist.
    pub async fn demand(
        &self,
        tx: &Tx,
        what: Right,
        space_guid: &str,
        noun: &str,
    ) -> Result<space::Model, ApiError> {
        let hidden = || ApiError::not_found(noun);
        let row = tx.find::<space::Entity>(space_guid).await?.ok_or_else(hidden)?;
        let (org, space) = (OrgGuid::new(row.org_guid.as_str()), SpaceGuid::new(space_guid));
        let p = &self.permissions;
        let read = |allowed: bool| {
            if allowed {
                Ok(())
            } else {
                Err(Forbidden::NotAuthorized)
            }
        };
        let sees =
            p.can_read_space(&org, &space) || what == Right::ReadRoutes && p.can_read_routes(&org, &space);
        if !sees {
            return Err(hidden());
        }
        let status = org_status(tx, &row.org_guid).await?;
        let answer = match what {
            Right::Read | Right::ReadRoutes => Ok(()),
            Right::ReadSecrets => read(p.can_read_secrets(&org, &space)),
            Right::ReadEvents => read(p.can_read_events(&org, &space)),
            Right::Write => p.can_write_space(&org, &space, status),
            Right::ManageApps => p.can_manage_apps(&org, &space, status),
            Right::Update => p.can_update_space(&org, &space, status),
        };
        answer.map(|()| row).map_err(|why| refuse(why, noun))
    }
}

/// What may be asked of a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// See it and what is in it.
    Read,
    /// See its routes.
    ReadRoutes,
    /// See environment variables and credentials.
    ReadSecrets,
    /// See its events.
    ReadEvents,
    /// Create and delete apps, packages, routes.
    Write,
    /// Start, stop, scale, stage.
    ManageApps,
    /// Change the space itself.
    Update,
}

/// The API's words for a refusal.
pub fn refuse(why: Forbidden, noun: &str) -> ApiError {
    match why {
        Forbidden::Hidden => ApiError::not_found(noun),
        Forbidden::NotAuthorized => ApiError::not_authorized(),
        Forbidden::OrgSuspended => ApiError::org_suspended(),
    }
}

/// Whether an organization is suspended.
pub async fn org_status(tx: &Tx, guid: &str) -> Result<OrgStatus, StoreError> {
    let suspended = tx.get::<org::Entity>(guid).await?.suspended;
    Ok(if suspended {
        OrgStatus::Suspended
    } else {
        OrgStatus::Active
    })
}

/// Restricts a list to spaces in `scope`, by the column that holds the space's guid.
pub fn within_spaces<E: Noun>(query: Query<E>, scope: &Scope, column: E::Column) -> Query<E> {
    match scope {
        Scope::All => query,
        Scope::Only { orgs, spaces } => {
            let in_orgs = Query::<space::Entity>::new()
                .any_of(space::Column::OrgGuid, orgs.iter().map(OrgGuid::as_str));
            query.either(
                Query::new().any_of(column, spaces.iter().map(SpaceGuid::as_str)),
                Query::new().within(column, space::Column::Guid, in_orgs),
            )
        }
    }
}

/// Restricts a list to organizations in `scope`, by the column that holds the organization's guid.
pub fn within_orgs<E: Noun>(query: Query<E>, scope: &Scope, column: E::Column) -> Query<E> {
    match scope {
        Scope::All => query,
        Scope::Only { orgs, .. } => query.any_of(column, orgs.iter().map(OrgGuid::as_str)),
    }
}
