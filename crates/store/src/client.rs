//! OAuth clients.

use sea_orm::entity::prelude::*;

/// A program that may ask for tokens; its guid is the client id.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "oauth_client")]
pub struct Model {
    /// Insertion order.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Public name.
    #[sea_orm(unique)]
    pub guid: String,
    /// Microseconds since 1970.
    pub created_at: i64,
    /// Microseconds since 1970.
    pub updated_at: i64,
    /// Secret hash.
    pub secret_hash: String,
    /// Grants.
    pub grants: String,
    /// Scopes.
    pub scopes: String,
    /// Authorities.
    pub authorities: String,
    /// Access seconds.
    pub access_seconds: i64,
    /// Refresh seconds.
    pub refresh_seconds: i64,
}

/// No relations are declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

crate::noun!("Client");
