//! Errors as UAA shows them: a status and `{"error": …, "error_description": …}`. Clients decide on the status and on
//! `error`.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{HeaderValue, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use store::StoreError;
use tracing::error;

/// An answer that is not a success.
#[derive(Debug)]
pub(crate) struct UaaError {
    status: StatusCode,
    error: &'static str,
    description: String,
}

impl UaaError {
    pub(crate) fn new(status: StatusCode, error: &'static str, description: impl Into<String>) -> Self {
        let description = description.into();
        Self {
            status,
            error,
            description,
        }
    }

    /// 401: the password, or whatever else was shown, is not right. Does not say what of it.
    pub(crate) fn bad_credentials() -> Self {
        Self::unauthorized("Bad credentials")
    }

    /// 401 with a reason that helps nobody to guess.
    pub(crate) fn unauthorized(description: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", description)
    }

    /// 401: the program is unknown or its secret is wrong.
    pub(crate) fn invalid_client() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "invalid_client",
            "Bad client credentials",
        )
    }

    /// 401: a token is there but cannot be used.
    pub(crate) fn invalid_token(why: impl std::fmt::Display) -> Self {
        let description = format!("The token expired, was revoked, or the token ID is incorrect: {why}");
        Self::new(StatusCode::UNAUTHORIZED, "invalid_token", description)
    }

    /// 403: a good token without the scope.
    pub(crate) fn insufficient_scope(needed: &str) -> Self {
        let description = format!("Insufficient scope for this resource; one of these is needed: {needed}");
        Self::new(StatusCode::FORBIDDEN, "insufficient_scope", description)
    }

    /// 400: the request is not what it should be.
    pub(crate) fn invalid_request(description: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    /// 400: a user as it cannot be.
    pub(crate) fn invalid_user(description: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_scim_resource", description)
    }

    /// 422: a password that cannot be had.
    pub(crate) fn invalid_password(description: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_password", description)
    }

    /// 404 for a user.
    pub(crate) fn no_such_user(id: &str) -> Self {
        let id: String = id.chars().take(100).collect();
        let description = format!("User {id} does not exist");
        Self::new(StatusCode::NOT_FOUND, "scim_resource_not_found", description)
    }

    /// 503: more password checks are waiting than can be done soon.
    pub(crate) fn busy() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            "Too many logins at once; try again in a few seconds",
        )
    }

    /// 500: logged with its causes, told without them.
    pub(crate) fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        error!(cause = %base::Report(cause), "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            "The platform's log says more",
        )
    }
}

impl IntoResponse for UaaError {
    fn into_response(self) -> Response {
        let body = json!({"error": self.error, "error_description": self.description});
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = match self.error {
                "invalid_client" => r#"Basic realm="UAA/client""#,
                _ => r#"Bearer realm="UAA/oauth""#,
            };
            let scheme = HeaderValue::from_static(scheme);
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

impl From<StoreError> for UaaError {
    fn from(error: StoreError) -> Self {
        Self::internal(&error)
    }
}
