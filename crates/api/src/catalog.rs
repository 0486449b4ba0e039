//! Lists of things this platform has none of, told truthfully: clients ask for them on the way to something else and
//! stop when they are answered 404. A noun moves from here to a file of its own when the platform gets its first one.

use axum::Json;
use axum::extract::{Path, State as Extract};
use serde_json::Value;

use crate::State;
use crate::app::find as find_app;
use crate::caller::{Caller, Right};
use crate::endpoint::Endpoint;
use crate::error::ApiError;
use crate::list::ListQuery;

/// A list's filters.
type Known = &'static [&'static str];

const SECURITY_GROUPS: Known = &[
    "names",
    "globally_enabled_running",
    "globally_enabled_staging",
    "running_space_guids",
    "staging_space_guids",
];
const OFFERINGS: Known = &[
    "names",
    "available",
    "service_broker_guids",
    "service_broker_names",
    "space_guids",
    "organization_guids",
    "broker_catalog_ids",
    "fields",
];
const PLANS: Known = &[
    "names",
    "available",
    "service_offering_guids",
    "service_offering_names",
    "service_broker_guids",
    "service_broker_names",
    "service_instance_guids",
    "space_guids",
    "organization_guids",
    "broker_catalog_ids",
    "include",
    "fields",
];
const INSTANCES: Known = &[
    "names",
    "type",
    "space_guids",
    "organization_guids",
    "service_plan_guids",
    "service_plan_names",
    "fields",
];
const BINDINGS: Known = &[
    "type",
    "names",
    "app_guids",
    "app_names",
    "service_instance_guids",
    "service_instance_names",
    "service_plan_guids",
    "service_plan_names",
    "service_offering_guids",
    "service_offering_names",
    "include",
];
const TASKS: Known = &["names", "states", "sequence_ids"];
const REVISIONS: Known = &["versions", "deployable"];

pub(crate) fn endpoints() -> Vec<Endpoint> {
    [platform(), services(), below_apps(), below_spaces()]
        .into_iter()
        .flatten()
        .collect()
}

fn platform() -> Vec<Endpoint> {
    vec![
        everywhere(
            "/v3/deployments",
            &["app_guids", "states", "status_values", "status_reasons"],
        ),
        everywhere(
            "/v3/tasks",
            &[
                "names",
                "states",
                "app_guids",
                "space_guids",
                "organization_guids",
            ],
        ),
        everywhere("/v3/isolation_segments", &["names", "organization_guids"]),
        everywhere("/v3/security_groups", SECURITY_GROUPS),
        everywhere(
            "/v3/space_quotas",
            &["names", "organization_guids", "space_guids"],
        ),
        everywhere("/v3/stacks", &["names", "default"]),
        everywhere("/v3/buildpacks", &["names", "stacks", "lifecycle"]),
    ]
}

fn services() -> Vec<Endpoint> {
    vec![
        everywhere("/v3/service_brokers", &["names", "space_guids"]),
        everywhere("/v3/service_offerings", OFFERINGS),
        everywhere("/v3/service_plans", PLANS),
        everywhere("/v3/service_instances", INSTANCES),
        everywhere("/v3/service_credential_bindings", BINDINGS),
        everywhere(
            "/v3/service_route_bindings",
            &[
                "route_guids",
                "service_instance_guids",
                "service_instance_names",
                "include",
            ],
        ),
    ]
}

fn below_apps() -> Vec<Endpoint> {
    vec![
        of_app("/v3/apps/{guid}/revisions", REVISIONS),
        of_app("/v3/apps/{guid}/revisions/deployed", REVISIONS),
        of_app("/v3/apps/{guid}/tasks", TASKS),
    ]
}

fn below_spaces() -> Vec<Endpoint> {
    vec![
        of_space("/v3/spaces/{guid}/running_security_groups", SECURITY_GROUPS),
        of_space("/v3/spaces/{guid}/staging_security_groups", SECURITY_GROUPS),
    ]
}

fn everywhere(path: &'static str, known: Known) -> Endpoint {
    Endpoint::get(
        path,
        move |Extract(state): Extract<State>, _: Caller, query: ListQuery| async move {
            empty(&state, query, known)
        },
    )
}

fn of_app(path: &'static str, known: Known) -> Endpoint {
    Endpoint::get(
        path,
        move |Extract(state): Extract<State>, caller: Caller, Path(guid): Path<String>, query: ListQuery| async move {
            find_app(&state.store.read().await?, &caller, &guid, Right::Read).await?;
            empty(&state, query, known)
        },
    )
}

fn of_space(path: &'static str, known: Known) -> Endpoint {
    Endpoint::get(
        path,
        move |Extract(state): Extract<State>, caller: Caller, Path(guid): Path<String>, query: ListQuery| async move {
            caller.space(&state.store.read().await?, &guid).await?;
            empty(&state, query, known)
        },
    )
}

fn empty(state: &State, query: ListQuery, known: Known) -> Result<Json<Value>, ApiError> {
    let query = query.allow(known)?;
    let page = query.page()?;
    Ok(Json(query.envelope(&state.settings.api_url, page, 0, Vec::new())))
}
