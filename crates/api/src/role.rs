//! Roles: who may do what where.

use auth::{Role, Subject};
use store::{StoreError, Tx, new_guid, org, role};

use crate::caller::Caller;
use crate::endpoint::Endpoint;

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![]
}

/// Gives the creator of an organization the roles to run it. Admins need none.
pub(crate) async fn creator_of_org(tx: &Tx, caller: &Caller, org: &org::Model) -> Result<(), StoreError> {
    let Subject::User { guid, .. } = &caller.identity.subject else {
        return Ok(());
    };
    if caller.identity.is_admin() {
        return Ok(());
    }
    for kind in [Role::OrganizationUser, Role::OrganizationManager] {
        insert(tx, kind, guid.as_str(), &org.guid, "").await?;
    }
    Ok(())
}

async fn insert(tx: &Tx, kind: Role, user: &str, org: &str, space: &str) -> Result<role::Model, StoreError> {
    let row = role::Model {
        id: 0,
        guid: new_guid(),
        created_at: 0,
        updated_at: 0,
        kind: kind.as_str().to_owned(),
        user_guid: user.to_owned(),
        org_guid: org.to_owned(),
        space_guid: space.to_owned(),
    };
    tx.insert::<role::Entity>(row).await
}
