//! Audit events, shown: `event.rs` records them.

use axum::Json;
use axum::extract::{Path, State as Extract};
use serde_json::{Value, json};
use store::Query;
use store::audit_event::{Column, Entity, Model};

use crate::State;
use crate::caller::{Caller, within_spaces};
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::list::ListQuery;
use crate::present::{link, time};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v3/audit_events", list),
        Endpoint::get("/v3/audit_events/{guid}", show),
    ]
}

/// Events of spaces whose events the caller may read; those outside any space are for readers of everything.
fn visible(caller: &Caller) -> Query<Entity> {
    within_spaces(
        Query::new(),
        &caller.permissions.visible_events(),
        Column::SpaceGuid,
    )
}

async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&["types", "target_guids", "space_guids", "organization_guids"])?;
    let mut rows = visible(&caller);
    rows = query.filter(rows, "types", Column::Kind);
    rows = query.filter(rows, "target_guids", Column::TargetGuid);
    if let Some(others) = query.csv("target_guids[not]") {
        rows = rows.none_of(Column::TargetGuid, others);
    }
    rows = query.filter(rows, "space_guids", Column::SpaceGuid);
    rows = query.filter(rows, "organization_guids", Column::OrgGuid);
    rows = query.common(rows, &[])?;
    let page = query.page()?;
    let (rows, total) = state.store.read().await?.page(rows, page).await?;
    let resources = rows.iter().map(|row| present(&state, row)).collect();
    Ok(Json(query.envelope(
        &state.settings.api_url,
        page,
        total,
        resources,
    )))
}

async fn show(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.read().await?;
    let row = tx.one(visible(&caller).eq(Column::Guid, &guid)).await?;
    let row = row.ok_or_else(|| ApiError::not_found("Event"))?;
    Ok(Json(present(&state, &row)))
}

fn present(state: &State, row: &Model) -> Value {
    let data: Value = serde_json::from_str(&row.data).unwrap_or_else(|_| json!({}));
    let within = |guid: &Option<String>| guid.as_ref().map(|guid| json!({"guid": guid}));
    json!({
        "guid": row.guid, "created_at": time(row.created_at), "updated_at": time(row.updated_at),
        "type": row.kind,
        "actor": {"guid": row.actor_guid, "type": row.actor_kind, "name": row.actor_name},
        "target": {"guid": row.target_guid, "type": row.target_kind, "name": row.target_name},
        "data": data, "space": within(&row.space_guid), "organization": within(&row.org_guid),
        "links": {"self": link(&state.settings.api_url, &format!("/v3/audit_events/{}", row.guid))},
    })
}
