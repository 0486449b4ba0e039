//! Which addresses a route may have: their form, and whose they are.
//!
//! Texts: cloudfoundry/cloud_controller_ng:app/actions/route_create.rb, app/models/runtime/route.rb.

use std::collections::BTreeMap;

use serde_json::json;
use store::{Query, StoreError, Tx, domain, new_guid, route, space};

use crate::caller::Caller;
use crate::error::ApiError;
use crate::event::{self, Target};
use crate::route::url;
use crate::{State, flag};

/// A route to be made.
pub(crate) struct Draft<'a> {
    /// Who is to have it.
    pub space: &'a space::Model,
    /// What it lives under; usable in that space.
    pub domain: &'a domain::Model,
    /// Empty for the domain itself.
    pub host: String,
    /// Empty, or with a leading slash.
    pub path: String,
    /// JSON object; empty for none.
    pub options: String,
}

/// Makes a route after checking its form, that nobody has it, and that nobody else's hides behind it.
pub(crate) async fn insert(
    state: &State,
    tx: &Tx,
    caller: &Caller,
    draft: Draft<'_>,
) -> Result<route::Model, ApiError> {
    if !caller.identity.is_admin() {
        flag::demand(tx, "route_creation").await?;
    }
    let (space, domain) = (draft.space, draft.domain);
    let host = draft.host.to_lowercase();
    check_host(&host, domain)?;
    if host == "*" && domain.org_guid.is_none() && !caller.identity.is_admin() {
        // It would answer for every name on the domain that is nobody's yet, and for others' while they are stopped.
        return Err(ApiError::unprocessable(
            "You do not have sufficient permissions to create a route with a wildcard host on a domain not scoped to \
             an organization.",
        ));
    }
    check_path(&draft.path)?;
    reserved(state, &host, domain)?;
    no_domain(tx, &host, domain).await?;
    let row = route::Model {
        id: 0,
        guid: new_guid(),
        created_at: 0,
        updated_at: 0,
        host,
        path: draft.path.trim_end_matches('/').to_owned(),
        domain_guid: domain.guid.clone(),
        space_guid: space.guid.clone(),
        options: if draft.options.is_empty() {
            "{}".to_owned()
        } else {
            draft.options
        },
    };
    foreign_host(tx, &row).await?;
    let (host, path) = (row.host.clone(), row.path.clone());
    let row = tx
        .insert::<route::Entity>(row)
        .await
        .map_err(|error| taken(error, &host, &path, &domain.name))?;
    let name = url(&row, &domain.name);
    let target = Target {
        kind: "route",
        guid: &row.guid,
        name: &name,
        space_guid: Some(&space.guid),
        org_guid: Some(&space.org_guid),
    };
    event::record(
        tx,
        caller,
        "audit.route.create",
        target,
        json!({"request": {"url": name}}),
    )
    .await?;
    Ok(row)
}

/// A host that another space serves at any path belongs to that space: else a route with a path could take over part
/// of a neighbour's app, or one without a path the rest of its host. The very same address is a conflict of its own.
async fn foreign_host(tx: &Tx, row: &route::Model) -> Result<(), ApiError> {
    let others = Query::<route::Entity>::new()
        .eq(route::Column::DomainGuid, &row.domain_guid)
        .eq(route::Column::Host, &row.host)
        .ne(route::Column::Path, &row.path)
        .ne(route::Column::SpaceGuid, &row.space_guid);
    if tx.count(others).await? > 0 {
        let text = "Routes for this host and domain have been reserved for another space.";
        return Err(ApiError::unprocessable(text));
    }
    Ok(())
}

/// Hosts of the platform itself are nobody's.
fn reserved(state: &State, host: &str, domain: &domain::Model) -> Result<(), ApiError> {
    let whole = if host.is_empty() {
        domain.name.clone()
    } else {
        format!("{host}.{}", domain.name)
    };
    if state.settings.platform_hosts.contains(&whole) {
        return Err(ApiError::unprocessable(format!(
            "Host {whole} is reserved for the platform."
        )));
    }
    Ok(())
}

/// A host whose whole name is a domain of its own has that domain's addresses.
async fn no_domain(tx: &Tx, host: &str, domain: &domain::Model) -> Result<(), ApiError> {
    let whole = format!("{host}.{}", domain.name);
    let same = Query::<domain::Entity>::new().eq(domain::Column::Name, &whole);
    if tx.count(same).await? > 0 {
        return Err(ApiError::unprocessable(format!(
            "Route conflicts with domain '{whole}'."
        )));
    }
    Ok(())
}

fn taken(error: StoreError, host: &str, path: &str, domain: &str) -> ApiError {
    match error {
        StoreError::Conflict { .. } if host.is_empty() && path.is_empty() => {
            ApiError::unprocessable(format!("Route already exists for domain '{domain}'."))
        }
        StoreError::Conflict { .. } if path.is_empty() => ApiError::unprocessable(format!(
            "Route already exists with host '{host}' for domain '{domain}'."
        )),
        StoreError::Conflict { .. } => ApiError::unprocessable(format!(
            "Route already exists with host '{host}' and path '{path}' for domain '{domain}'."
        )),
        other => other.into(),
    }
}

fn check_host(host: &str, domain: &domain::Model) -> Result<(), ApiError> {
    // One label: with more, an address could be read as a host of two domains.
    let label = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let wildcard = host == "*";
    if host.is_empty() {
        // A shared domain is everybody's: only a host makes an address on it one's own.
        return match domain.org_guid {
            Some(_) => Ok(()),
            None => Err(ApiError::unprocessable(
                "Missing host. Routes in shared domains must have a host defined.",
            )),
        };
    }
    if wildcard && domain.internal {
        return Err(ApiError::unprocessable(
            "Wildcard hosts are not supported for internal domains.",
        ));
    }
    if !wildcard && !host.chars().all(label) {
        return Err(ApiError::unprocessable(
            "Host must be either \"*\" or contain only alphanumeric characters, \"_\", or \"-\"",
        ));
    }
    if host.len() > 63 {
        return Err(ApiError::unprocessable("Host must be no more than 63 characters"));
    }
    if host.len() + domain.name.len() + 1 > 253 {
        return Err(ApiError::unprocessable(
            "Host combined with domain name must be no more than 253 characters.",
        ));
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), ApiError> {
    if path.is_empty() {
        return Ok(());
    }
    let refuse = |text: &str| Err(ApiError::unprocessable(text));
    match path {
        "/" => refuse("Path cannot be a single slash"),
        _ if !path.starts_with('/') => refuse("Path must begin with a slash"),
        _ if path.contains('?') => refuse("Path cannot contain a question mark"),
        _ if path.len() > 128 => refuse("Path must be no more than 128 characters"),
        _ if !path.chars().all(|c| c.is_ascii_graphic()) => refuse("Path is invalid"),
        _ => Ok(()),
    }
}

pub(crate) fn options_text(
    before: &BTreeMap<String, String>,
    change: Option<BTreeMap<String, Option<String>>>,
) -> Result<String, ApiError> {
    let mut options = before.clone();
    for (name, value) in change.unwrap_or_default() {
        match value {
            None => _ = options.remove(&name),
            Some(value)
                if name == "loadbalancing"
                    && ["round-robin", "least-connection"].contains(&value.as_str()) =>
            {
                options.insert(name, value);
            }
            Some(value) if name == "loadbalancing" => {
                let text =
                    format!("Loadbalancing '{value}' is not supported; use round-robin or least-connection");
                return Err(ApiError::unprocessable(text));
            }
            Some(_) => {
                return Err(ApiError::unprocessable(format!(
                    "Options Unknown field(s): '{name}'"
                )));
            }
        }
    }
    Ok(json!(options).to_string())
}
