//! What the operator says about registries at run time.

use sea_orm::entity::prelude::*;

/// The guid of the one row.
pub const ONLY: &str = "registry";

/// The stored document; there is one row at most. Absent: nothing has been said yet, as with an empty document of
/// version 0. Written by the API only.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "registry_settings")]
pub struct Model {
    /// Insertion order.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Public name, always [`ONLY`].
    #[sea_orm(unique)]
    pub guid: String,
    /// Microseconds since 1970.
    pub created_at: i64,
    /// Microseconds since 1970.
    pub updated_at: i64,
    /// Grows by one with each change; the first document is version 1.
    pub version: i64,
    /// JSON of `model::RegistrySettings`.
    pub document: String,
}

/// No relations are declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

crate::noun!("Registry settings");
