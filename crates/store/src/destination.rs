//! Destinations: which app a route leads to.

use sea_orm::entity::prelude::*;

/// One app a route leads to.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "destination")]
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
    /// Route guid.
    pub route_guid: String,
    /// App guid.
    pub app_guid: String,
    /// Process type.
    pub process_type: String,
    /// Port.
    pub port: Option<i64>,
    /// Protocol.
    pub protocol: String,
}

/// No relations are declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

crate::noun!("Destination");
