//! Desired LRPs: what is to run, pinned when an app starts.

use sea_orm::entity::prelude::*;

/// What the instances of one process run. `guid` is the version: it changes with each start. `spec_sealed` is a sealed
/// `wire::v1::InstanceSpec` without instance guid and index. The count of instances is in the process row. Written by
/// the API only.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "desired_lrp")]
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
    /// Process guid.
    pub process_guid: String,
    /// App guid.
    pub app_guid: String,
    /// Lifecycle.
    pub lifecycle: String,
    /// Memory mb.
    pub memory_mb: i64,
    /// Disk mb.
    pub disk_mb: i64,
    /// Spec sealed.
    pub spec_sealed: String,
}

/// No relations are declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

crate::noun!("Desired LRP");
