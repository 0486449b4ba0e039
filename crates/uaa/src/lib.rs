//! Login, tokens, users and clients over HTTP, in the words of UAA (reference: api-surface 1.2, 1.3, 7).
//!
//! Knows credentials and who has them. Knows nothing of orgs, spaces and roles: scopes are its only idea of power.
//! Writes the rows `account` and `oauth_client`; every table of the platform that names a user follows when one is
//! deleted.
//!
//! Tokens are not stored. Access tokens live ten minutes. Refresh tokens carry a fingerprint (`rev_sig`) of the
//! user's and the client's credentials, so changing a password or deleting a user ends them all.
//!
//! | file | what |
//! |---|---|
//! | `discovery.rs` | prompts, versions, public keys |
//! | `token.rs` | `POST /oauth/token`: the grants |
//! | `client.rs` | which program asks |
//! | `bearer.rs` | who calls the other endpoints, and with which scopes |
//! | `check.rs` | what a token says: `/check_token`, `/introspect`, `/userinfo` |
//! | `scim.rs`, `filter.rs`, `account.rs` | users: the endpoints, the filter language, the rows |
//! | `password.rs` | changing one's password |
//! | `guard.rs` | bounds on password checking: how many at once, how often a name may fail |
//! | `seed.rs` | the client `cf` and the user `admin` |

mod account;
mod bearer;
mod check;
mod client;
mod discovery;
mod error;
mod filter;
mod form;
mod guard;
mod password;
mod scim;
mod seed;
mod token;

use std::ops::Deref;
use std::sync::Arc;
use std::time::SystemTime;

use auth::{Jwk, Minter, Verifier};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post, put};
use store::Store;

pub use account::{ORIGIN, USER_SCOPES};
pub use seed::{ADMIN, CLI_CLIENT, SeedError, seed};

use guard::Guard;

/// The UAA version told to clients; `cf` compares it before it offers `--origin`.
pub const VERSION: &str = "77.10.0";

/// Largest request body, bytes. The longest honest one carries a refresh token.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// What the identity server is told at start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Public address of the login endpoints, without a trailing slash.
    pub login_url: String,
    /// Public address of the identity endpoints, without a trailing slash.
    pub uaa_url: String,
}

/// Everything the handlers need.
pub struct Parts {
    /// Users and clients.
    pub store: Store,
    /// Makes tokens; its issuer is the one told in `/.well-known/openid-configuration`.
    pub minter: Arc<Minter>,
    /// Checks tokens of the same issuer.
    pub verifier: Arc<Verifier>,
    /// Public keys whose tokens are still accepted, beside the minter's own.
    pub former_keys: Vec<Jwk>,
    /// As told at start.
    pub settings: Settings,
}

/// The identity server. Cloning shares it.
#[derive(Clone)]
pub struct Uaa(Arc<Inner>);

pub(crate) struct Inner {
    parts: Parts,
    guard: Arc<Guard>,
}

impl Uaa {
    /// Joins the parts.
    pub fn new(parts: Parts) -> Self {
        let guard = Arc::new(Guard::new(parts.store.clock().clone()));
        Self(Arc::new(Inner { parts, guard }))
    }

    /// All endpoints. Has no fallback, so that it can be merged with other routers on one origin; its paths collide
    /// with none of the API's.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/login", get(discovery::login))
            .route("/info", get(discovery::info))
            .route("/token_keys", get(discovery::token_keys))
            .route("/token_key", get(discovery::token_key))
            .route("/.well-known/openid-configuration", get(discovery::openid))
            .route("/oauth/token", post(token::grant))
            .route("/oauth/token/revoke/{jti}", delete(check::revoke))
            .route("/oauth/clients/{id}", get(client::show))
            .route("/check_token", post(check::check_token))
            .route("/introspect", post(check::introspect))
            .route("/userinfo", get(check::userinfo).post(check::userinfo))
            .route("/Users", get(scim::list).post(scim::create))
            .route("/Users/{id}", get(scim::show).delete(scim::delete))
            .route("/Users/{id}/password", put(password::change))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(self.clone())
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.store.clock().now()
    }

    pub(crate) fn guard(&self) -> &Arc<Guard> {
        &self.0.guard
    }
}

impl Deref for Uaa {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}
