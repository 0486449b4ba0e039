//! Endpoints as data, so that a test can list what is served and demand a row for each in the strangers' table.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodRouter, delete, get, patch, post, put};

use crate::State;

/// One method on one path.
pub struct Endpoint {
    /// HTTP method.
    pub method: &'static str,
    /// Path with `{placeholders}`.
    pub path: &'static str,
    route: MethodRouter<State>,
}

impl Endpoint {
    /// `GET`.
    pub fn get<T: 'static>(path: &'static str, handler: impl Handler<T, State>) -> Self {
        Self {
            method: "GET",
            path,
            route: get(handler),
        }
    }

    /// `POST`.
    pub fn post<T: 'static>(path: &'static str, handler: impl Handler<T, State>) -> Self {
        Self {
            method: "POST",
            path,
            route: post(handler),
        }
    }

    /// `PATCH`.
    pub fn patch<T: 'static>(path: &'static str, handler: impl Handler<T, State>) -> Self {
        Self {
            method: "PATCH",
            path,
            route: patch(handler),
        }
    }

    /// `PUT`.
    pub fn put<T: 'static>(path: &'static str, handler: impl Handler<T, State>) -> Self {
        Self {
            method: "PUT",
            path,
            route: put(handler),
        }
    }

    /// `DELETE`.
    pub fn delete<T: 'static>(path: &'static str, handler: impl Handler<T, State>) -> Self {
        Self {
            method: "DELETE",
            path,
            route: delete(handler),
        }
    }
}

/// Joins endpoints into a router.
pub fn router(endpoints: Vec<Endpoint>) -> Router<State> {
    endpoints.into_iter().fold(Router::new(), |router, endpoint| {
        router.route(endpoint.path, endpoint.route)
    })
}
