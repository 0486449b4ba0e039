//! Answers for requests nobody serves. Where Cloud Foundry has the feature and this platform has not, the answer says
//! which and what to do: `cf` prints the detail, but would turn a bare `Unknown request` into "API endpoint not found",
//! as if the address were wrong. A line goes from here when the feature comes.

use axum::Json;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::ApiError;

const SOURCE: &str = "Source code is not built by this platform: build an image of the app and push it with \
                      --docker-image (-o), or name it as docker.image in the manifest";

/// Path, `*` for any one segment, and what is told of everything at it and below. The first that fits is told.
const FEATURES: &[(&str, &str)] = &[
    ("v3/resource_matches", SOURCE),
    ("v3/packages/*/upload", SOURCE),
    (
        "v3/droplets/*/upload",
        "Droplets cannot be uploaded: push an image instead",
    ),
    (
        "v3/droplets/*/download",
        "Droplets of images cannot be downloaded: pull the image from its registry",
    ),
    ("v3/buildpacks", SOURCE),
    (
        "v3/stacks",
        "Stacks are not served by this platform: an image brings its own file system",
    ),
    ("v3/tasks", "Tasks are not served by this version of the platform"),
    (
        "v3/apps/*/tasks",
        "Tasks are not served by this version of the platform",
    ),
    (
        "v3/deployments",
        "Rolling and canary deployments are not served by this version of the platform; leave --strategy out to \
         replace all instances at once",
    ),
    (
        "v3/revisions",
        "Revisions are not served by this version of the platform",
    ),
    (
        "v3/apps/*/revisions",
        "Revisions are not served by this version of the platform",
    ),
    (
        "v3/apps/*/processes/*/instances",
        "Single instances cannot be restarted by this version of the platform; restart the app",
    ),
    (
        "v3/processes/*/instances",
        "Single instances cannot be restarted by this version of the platform; restart the app",
    ),
    (
        "v3/apps/*/sidecars",
        "Sidecars are not supported by this version of the platform",
    ),
    (
        "v3/sidecars",
        "Sidecars are not supported by this version of the platform",
    ),
    (
        "v3/service_brokers",
        "Services are not served by this version of the platform",
    ),
    (
        "v3/service_offerings",
        "Services are not served by this version of the platform",
    ),
    (
        "v3/service_plans",
        "Services are not served by this version of the platform",
    ),
    (
        "v3/service_instances",
        "Services are not served by this version of the platform; give credentials to the app with cf set-env",
    ),
    (
        "v3/service_credential_bindings",
        "Services are not served by this version of the platform",
    ),
    (
        "v3/service_route_bindings",
        "Services are not served by this version of the platform",
    ),
    (
        "v3/organization_quotas",
        "Quotas cannot be changed in this version of the platform",
    ),
    (
        "v3/space_quotas",
        "Space quotas are not served by this version of the platform",
    ),
    (
        "v3/security_groups",
        "Security groups are not served by this version of the platform",
    ),
    (
        "v3/isolation_segments",
        "Isolation segments are not served by this version of the platform",
    ),
    (
        "v3/environment_variable_groups",
        "Environment variable groups are not served by this version of the platform; use cf set-env for each app",
    ),
    (
        "v3/routes/*/relationships/shared_spaces",
        "Routes cannot be shared between spaces in this version of the platform",
    ),
    (
        "networking",
        "Network policies are not served by this version of the platform",
    ),
];

/// What is told of a path; `None` for one that Cloud Foundry does not have either.
fn told(path: &str) -> Option<&'static str> {
    FEATURES
        .iter()
        .find(|(pattern, _)| covers(pattern, path.trim_start_matches('/')))
        .map(|(_, text)| *text)
}

fn covers(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    pattern
        .split('/')
        .all(|wanted| segments.next().is_some_and(|s| wanted == "*" || wanted == s))
}

/// The fallback of the router.
pub(crate) async fn answer(request: Request) -> Response {
    let path = request.uri().path();
    let Some(text) = told(path) else {
        return ApiError::unknown_request().into_response();
    };
    if path.starts_with("/networking/") {
        // The client of this API prints `error` for 406, but for 404 a dump of the answer.
        return (StatusCode::NOT_ACCEPTABLE, Json(json!({"error": text}))).into_response();
    }
    ApiError::not_served(text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_feature_at_and_below_its_path() {
        assert_eq!(told("/v3/resource_matches"), Some(SOURCE));
        assert_eq!(told("/v3/packages/p-1/upload"), Some(SOURCE));
        assert!(told("/v3/apps/a-1/tasks").is_some_and(|text| text.starts_with("Tasks")));
        assert!(told("/v3/deployments/d-1/actions/cancel").is_some_and(|text| text.starts_with("Rolling")));
        assert!(
            told("/v3/apps/a-1/processes/web/instances/0").is_some_and(|text| text.starts_with("Single"))
        );
        assert!(told("/networking/v1/external/policies").is_some());
    }

    #[test]
    fn says_nothing_of_what_nobody_knows() {
        for path in [
            "/",
            "/v3/nope",
            "/v3/packages",
            "/v3/packages/p-1",
            "/v3/tasksy",
            "/v3/apps/a-1",
        ] {
            assert_eq!(told(path), None, "{path}");
        }
    }
}
