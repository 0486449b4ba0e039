//! Audit events: who did what to which resource. Secrets never enter `data`.

use auth::Subject;
use serde_json::Value;
use store::{StoreError, Tx, audit_event, new_guid};

use crate::caller::Caller;

/// What an event is about.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// `app`, `space`, `organization`, `route`, `feature_flag`…
    pub kind: &'a str,
    /// Its guid.
    pub guid: &'a str,
    /// Its name at the time.
    pub name: &'a str,
    /// The space it lives in, if any.
    pub space_guid: Option<&'a str>,
    /// The organization it lives in, if any.
    pub org_guid: Option<&'a str>,
}

/// Records that the caller did `kind` (for example `audit.app.create`).
pub async fn record(
    tx: &Tx,
    caller: &Caller,
    kind: &str,
    target: Target<'_>,
    data: Value,
) -> Result<(), StoreError> {
    let (actor_kind, guid, name) = match &caller.identity.subject {
        Subject::User { guid, name, .. } => ("user", guid.as_str(), name.as_str()),
        Subject::Client { id } => ("client", id.as_str(), id.as_str()),
    };
    let row = audit_event::Model {
        id: 0,
        guid: new_guid(),
        created_at: 0,
        updated_at: 0,
        kind: kind.to_owned(),
        actor_guid: guid.to_owned(),
        actor_kind: actor_kind.to_owned(),
        actor_name: name.to_owned(),
        target_guid: target.guid.to_owned(),
        target_kind: target.kind.to_owned(),
        target_name: target.name.to_owned(),
        data: data.to_string(),
        space_guid: target.space_guid.map(str::to_owned),
        org_guid: target.org_guid.map(str::to_owned),
    };
    tx.insert::<audit_event::Entity>(row).await?;
    Ok(())
}
