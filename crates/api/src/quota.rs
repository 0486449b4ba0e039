//! Quotas: one for all organizations, without limits. Every organization names one, so clients ask for it.

use axum::Json;
use axum::extract::{Path, State as Extract};
use serde_json::{Value, json};
use store::org_quota::{Column, Entity, Model};
use store::{Query, Tx, org};

use crate::State;
use crate::caller::{Caller, within_orgs};
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::list::ListQuery;
use crate::present::{link, time};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v3/organization_quotas", list),
        Endpoint::get("/v3/organization_quotas/{guid}", show),
    ]
}

async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    query: ListQuery,
) -> Result<Json<Value>, ApiError> {
    let query = query.allow(&["names", "organization_guids"])?;
    let mut rows = query.filter(Query::<Entity>::new(), "names", Column::Name);
    if let Some(guids) = query.csv("organization_guids") {
        rows = rows.within(
            Column::Guid,
            org::Column::QuotaGuid,
            orgs(&caller).any_of(org::Column::Guid, guids),
        );
    }
    rows = query.common(rows, &[("name", Column::Name)])?;
    let page = query.page()?;
    let tx = state.store.read().await?;
    let (rows, total) = tx.page(rows, page).await?;
    let mut resources = Vec::with_capacity(rows.len());
    for row in &rows {
        resources.push(present(&state, &tx, &caller, row).await?);
    }
    let origin = &state.settings.api_url;
    Ok(Json(query.envelope(origin, page, total, resources)))
}

async fn show(
    Extract(state): Extract<State>,
    caller: Caller,
    Path(guid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let tx = state.store.read().await?;
    let row = tx.get::<Entity>(&guid).await?;
    Ok(Json(present(&state, &tx, &caller, &row).await?))
}

/// Everybody may see a quota; of the organizations that have it only the caller's own.
fn orgs(caller: &Caller) -> Query<org::Entity> {
    within_orgs(
        Query::new(),
        &caller.permissions.visible_orgs(),
        org::Column::Guid,
    )
}

async fn present(state: &State, tx: &Tx, caller: &Caller, row: &Model) -> Result<Value, ApiError> {
    let users = tx.all(orgs(caller).eq(org::Column::QuotaGuid, &row.guid)).await?;
    let users: Vec<Value> = users.iter().map(|org| json!({"guid": org.guid})).collect();
    Ok(json!({
        "guid": row.guid, "created_at": time(row.created_at), "updated_at": time(row.updated_at),
        "name": row.name,
        "apps": {
            "total_memory_in_mb": null, "per_process_memory_in_mb": null, "total_instances": null,
            "per_app_tasks": null, "log_rate_limit_in_bytes_per_second": null,
        },
        "services": {
            "paid_services_allowed": true, "total_service_instances": null, "total_service_keys": null,
        },
        "routes": {"total_routes": null, "total_reserved_ports": null},
        "domains": {"total_domains": null},
        "relationships": {"organizations": {"data": users}},
        "links": {"self": link(&state.settings.api_url, &format!("/v3/organization_quotas/{}", row.guid))},
    }))
}
