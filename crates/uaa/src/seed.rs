//! The rows every installation has: the client `cf` and the user `admin`. Idempotent; the operator's word wins over
//! what is stored.

use auth::{PasswordError, Secret, hash_password, verify_password};
use store::{Store, StoreError, Tx, client, new_guid, user};
use tracing::info;

use crate::account::{ORIGIN, USER_SCOPES, by_name, column, words};

/// Name of the operator's user.
pub const ADMIN: &str = "admin";
/// Id of the command line's client.
pub const CLI_CLIENT: &str = "cf";

/// Lifetime of access tokens, seconds. `cf` renews those with less than 60 s left.
const ACCESS_SECONDS: i64 = 600;
/// Lifetime of refresh tokens, seconds: 30 days.
const REFRESH_SECONDS: i64 = 30 * 24 * 3600;

const CLI_GRANTS: &[&str] = &["password", "refresh_token"];

/// What users may get through `cf`: the reference deployment's list.
const CLI_SCOPES: &[&str] = &[
    "clients.read",
    "cloud_controller.admin",
    "cloud_controller.admin_read_only",
    "cloud_controller.global_auditor",
    "cloud_controller.read",
    "cloud_controller.write",
    "doppler.firehose",
    "network.admin",
    "network.write",
    "openid",
    "password.write",
    "routing.router_groups.read",
    "routing.router_groups.write",
    "scim.read",
    "scim.write",
    "uaa.user",
];

/// What `admin` has beside [`USER_SCOPES`].
const ADMIN_SCOPES: &[&str] = &[
    "clients.read",
    "cloud_controller.admin",
    "doppler.firehose",
    "network.admin",
    "routing.router_groups.read",
    "routing.router_groups.write",
    "scim.read",
    "scim.write",
];

/// Why seeding failed.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The database said no.
    #[error("the first user and client could not be stored")]
    Store(#[from] StoreError),
    /// The admin password cannot be used.
    #[error("the admin password cannot be used")]
    Password(#[source] PasswordError),
    /// No password was given for `admin`.
    #[error("the admin password is empty; give one of at least one character")]
    Empty,
    /// The thread that hashes passwords died.
    #[error("the admin password could not be hashed")]
    Worker(#[source] tokio::task::JoinError),
}

/// Makes the client `cf` and the user `admin`, or brings them up to date. When `admin_password` is not the stored
/// one it replaces it, which ends the admin's refresh tokens. Call it before serving.
///
/// # Errors
/// When the database fails or the password is empty or too long. Nothing is half done.
pub async fn seed(store: &Store, admin_password: Secret) -> Result<(), SeedError> {
    if admin_password.expose().is_empty() {
        return Err(SeedError::Empty);
    }
    let stored = by_name(&store.read().await?, ADMIN).await?;
    let stored = stored.and_then(|user| user.password_hash);
    let hashed = tokio::task::spawn_blocking(move || match stored {
        Some(hash) if verify_password(admin_password.expose(), Some(&hash)) => Ok(None),
        _ => hash_password(admin_password.expose()).map(Some),
    });
    let new_hash = hashed
        .await
        .map_err(SeedError::Worker)?
        .map_err(SeedError::Password)?;
    let tx = store.write().await?;
    seed_client(&tx).await?;
    seed_admin(&tx, new_hash).await?;
    Ok(tx.commit().await?)
}

async fn seed_client(tx: &Tx) -> Result<(), StoreError> {
    let wanted = client::Model {
        id: 0,
        guid: CLI_CLIENT.to_owned(),
        created_at: 0,
        updated_at: 0,
        secret_hash: String::new(),
        grants: column(CLI_GRANTS.iter().copied()),
        scopes: column(CLI_SCOPES.iter().copied()),
        authorities: String::new(),
        access_seconds: ACCESS_SECONDS,
        refresh_seconds: REFRESH_SECONDS,
    };
    let Some(found) = tx.find::<client::Entity>(CLI_CLIENT).await? else {
        tx.insert::<client::Entity>(wanted).await?;
        return Ok(());
    };
    let wanted = client::Model {
        id: found.id,
        created_at: found.created_at,
        updated_at: found.updated_at,
        ..wanted
    };
    if found != wanted {
        tx.update::<client::Entity>(wanted).await?;
    }
    Ok(())
}

async fn seed_admin(tx: &Tx, new_hash: Option<String>) -> Result<(), StoreError> {
    let scopes = USER_SCOPES.iter().chain(ADMIN_SCOPES).copied();
    let Some(found) = by_name(tx, ADMIN).await? else {
        let row = user::Model {
            id: 0,
            guid: new_guid(),
            created_at: 0,
            updated_at: 0,
            username: ADMIN.to_owned(),
            origin: ORIGIN.to_owned(),
            password_hash: new_hash,
            email: ADMIN.to_owned(),
            given_name: String::new(),
            family_name: String::new(),
            scopes: column(scopes),
            revision: 0,
            known_to_api: true,
        };
        tx.insert::<user::Entity>(row).await?;
        return Ok(());
    };
    let mut wanted = found.clone();
    let held = words(&found.scopes);
    wanted.scopes = column(scopes.chain(held.iter().map(String::as_str)));
    wanted.known_to_api = true;
    if let Some(hash) = new_hash {
        info!("the admin password given at start differs from the stored one and replaces it");
        wanted.password_hash = Some(hash);
        wanted.revision += 1;
    }
    if found != wanted {
        tx.update::<user::Entity>(wanted).await?;
    }
    Ok(())
}
