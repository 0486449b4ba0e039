//! Users, as the identity server keeps them.

use sea_orm::entity::prelude::*;

/// A person who may log in.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "account")]
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
    /// Username.
    pub username: String,
    /// Origin.
    pub origin: String,
    /// Password hash.
    pub password_hash: Option<String>,
    /// Email.
    pub email: String,
    /// Given name.
    pub given_name: String,
    /// Family name.
    pub family_name: String,
    /// Scopes.
    pub scopes: String,
    /// Revision.
    pub revision: i64,
    /// Known to api.
    pub known_to_api: bool,
}

/// No relations are declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

crate::noun!("User");
