//! Audit events.

use sea_orm::entity::prelude::*;

/// Something that was done. `data` is a JSON object without secrets.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_event")]
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
    /// Actor guid.
    pub actor_guid: String,
    /// Actor kind.
    pub actor_kind: String,
    /// Actor name.
    pub actor_name: String,
    /// Target guid.
    pub target_guid: String,
    /// Target kind.
    pub target_kind: String,
    /// Target name.
    pub target_name: String,
    /// Data.
    pub data: String,
    /// Space guid.
    pub space_guid: Option<String>,
    /// Org guid.
    pub org_guid: Option<String>,
}

/// No relations are declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

crate::noun!("Event");
