//! Jobs: work a client can wait for.

use sea_orm::entity::prelude::*;

/// A job. `errors` and `warnings` are JSON lists.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "job")]
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
    /// Operation.
    pub operation: String,
    /// State.
    pub state: String,
    /// Owner guid.
    pub owner_guid: String,
    /// Errors.
    pub errors: String,
    /// Warnings.
    pub warnings: String,
}

/// No relations are declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

crate::noun!("Job");
