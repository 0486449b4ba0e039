//! Errors as the v3 API shows them: a status and `{"errors":[{"code","title","detail"}]}`.
//!
//! The only place that turns what lower crates say into words for the user; the texts are API, since clients match on
//! them. Codes: cloudfoundry/cloud_controller_ng:errors/v2.yml and v3.yml.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use store::StoreError;
use tracing::error;

/// An answer that is not a success.
#[derive(Debug, Clone)]
pub struct ApiError {
    status: StatusCode,
    problems: Vec<Problem>,
}

/// One entry of `errors`.
#[derive(Debug, Clone)]
struct Problem {
    code: u32,
    title: &'static str,
    detail: String,
}

impl ApiError {
    fn one(status: StatusCode, code: u32, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            problems: vec![Problem {
                code,
                title,
                detail: detail.into(),
            }],
        }
    }

    /// 404 for a path nobody serves.
    pub fn unknown_request() -> Self {
        Self::one(StatusCode::NOT_FOUND, 10000, "CF-NotFound", "Unknown request")
    }

    /// 404 for what Cloud Foundry has and this platform has not.
    pub(crate) fn not_served(detail: &str) -> Self {
        Self::one(StatusCode::NOT_FOUND, 10000, "CF-NotFound", detail)
    }

    /// 404 `X not found`: missing, or hidden from the caller.
    pub fn not_found(noun: &str) -> Self {
        Self::one(
            StatusCode::NOT_FOUND,
            10010,
            "CF-ResourceNotFound",
            format!("{noun} not found"),
        )
    }

    /// 401: a token is there but is not valid.
    pub fn invalid_token() -> Self {
        Self::one(
            StatusCode::UNAUTHORIZED,
            1000,
            "CF-InvalidAuthToken",
            "Invalid Auth Token",
        )
    }

    /// 401: no token.
    pub fn not_authenticated() -> Self {
        Self::one(
            StatusCode::UNAUTHORIZED,
            10002,
            "CF-NotAuthenticated",
            "Authentication error",
        )
    }

    /// 403: visible, but not the caller's to change.
    pub fn not_authorized() -> Self {
        let detail = "You are not authorized to perform the requested action";
        Self::one(StatusCode::FORBIDDEN, 10003, "CF-NotAuthorized", detail)
    }

    /// 403: the organization is suspended.
    pub fn org_suspended() -> Self {
        Self::one(
            StatusCode::FORBIDDEN,
            10017,
            "CF-OrgSuspended",
            "The organization is suspended",
        )
    }

    /// 403: a feature flag is off. `message` is the flag's custom message or its name.
    pub fn feature_disabled(message: &str) -> Self {
        Self::one(
            StatusCode::FORBIDDEN,
            330_002,
            "CF-FeatureDisabled",
            format!("Feature Disabled: {message}"),
        )
    }

    /// 404 for an unknown feature flag.
    pub fn feature_flag_not_found() -> Self {
        Self::not_found("Feature flag")
    }

    /// 422: well-formed, but cannot be done.
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::one(
            StatusCode::UNPROCESSABLE_ENTITY,
            10008,
            "CF-UnprocessableEntity",
            detail,
        )
    }

    /// 422 with one entry a problem. `details` must not be empty.
    pub fn unprocessable_all(details: Vec<String>) -> Self {
        let problem = |detail| Problem {
            code: 10008,
            title: "CF-UnprocessableEntity",
            detail,
        };
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            problems: details.into_iter().map(problem).collect(),
        }
    }

    /// 422 with a code and title of its own.
    pub fn unprocessable_as(code: u32, title: &'static str, detail: impl Into<String>) -> Self {
        Self::one(StatusCode::UNPROCESSABLE_ENTITY, code, title, detail)
    }

    /// 412: the registry settings are not those the change was made from.
    pub fn settings_moved(seen: i64, now: i64) -> Self {
        let detail = format!(
            "The registry settings were changed meanwhile: they are at version {now}, your change was made from \
             version {seen}. Read them again and repeat your change"
        );
        Self::one(
            StatusCode::PRECONDITION_FAILED,
            10_412,
            "Slipway-SettingsMoved",
            detail,
        )
    }

    /// 428: a change must say which settings it was made from.
    pub fn version_required() -> Self {
        let detail = "Say which version your change was made from: send If-Match with the number that GET gives as \
                      \"version\", or * to replace any";
        Self::one(
            StatusCode::PRECONDITION_REQUIRED,
            10_428,
            "Slipway-VersionRequired",
            detail,
        )
    }

    /// 422: the operator lets nothing run as root.
    pub fn root_user(process: &str) -> Self {
        Self::unprocessable(format!(
            "Attempting to run process as root user, which is not permitted. Process {process} would run as root: \
             set USER in the image to another user, or set the process's user"
        ))
    }

    /// 400: the body is not what it says to be.
    pub fn parse(detail: impl std::fmt::Display) -> Self {
        let detail = format!("Request invalid due to parse error: {detail}");
        Self::one(StatusCode::BAD_REQUEST, 1001, "CF-MessageParseError", detail)
    }

    /// 400.
    pub fn bad_request(detail: impl std::fmt::Display) -> Self {
        Self::one(
            StatusCode::BAD_REQUEST,
            1004,
            "CF-BadRequest",
            format!("Bad request: {detail}"),
        )
    }

    /// 400: a query parameter is wrong.
    pub fn bad_query(detail: impl std::fmt::Display) -> Self {
        let detail = format!("The query parameter is invalid: {detail}");
        Self::one(StatusCode::BAD_REQUEST, 10005, "CF-BadQueryParameter", detail)
    }

    /// 503: try again.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::one(
            StatusCode::SERVICE_UNAVAILABLE,
            10015,
            "CF-ServiceUnavailable",
            detail,
        )
    }

    /// 500: logged with its causes, told without them.
    pub fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        error!(cause = %base::Report(cause), "request failed");
        let detail = "An unknown error occurred. The platform's log says more";
        Self::one(
            StatusCode::INTERNAL_SERVER_ERROR,
            10001,
            "CF-UnknownError",
            detail,
        )
    }

    /// The details, for jobs and for errors that are told again under another heading.
    pub fn details(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().map(|p| p.detail.as_str())
    }

    /// The `errors` list.
    pub fn to_json(&self) -> serde_json::Value {
        let entry = |p: &Problem| json!({"code": p.code, "title": p.title, "detail": p.detail});
        self.problems.iter().map(entry).collect()
    }

    /// The status it answers with.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"errors": self.to_json()}))).into_response()
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { noun } => Self::not_found(noun),
            StoreError::Conflict { noun } => Self::unprocessable(format!("{noun} already exists.")),
            StoreError::Database(_) => Self::internal(&error),
        }
    }
}
