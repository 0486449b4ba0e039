//! Routes: host and path under a domain.

use sea_orm::entity::prelude::*;

/// An address that can lead to apps. `options` is a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "route")]
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
    /// Host.
    pub host: String,
    /// Path.
    pub path: String,
    /// Domain guid.
    pub domain_guid: String,
    /// Space guid.
    pub space_guid: String,
    /// Options.
    pub options: String,
}

/// No relations are declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

crate::noun!("Route");
