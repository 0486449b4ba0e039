//! Roles: who may do what where.

use sea_orm::entity::prelude::*;

/// One role of one user. `space_guid` is empty for an organization role.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "role")]
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
    /// Which kind it is, in the words of the API.
    pub kind: String,
    /// User guid.
    pub user_guid: String,
    /// Org guid.
    pub org_guid: String,
    /// Space guid.
    pub space_guid: String,
}

/// No relations are declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

crate::noun!("Role");
