//! Actual LRPs: the instances that are.

use sea_orm::entity::prelude::*;

/// One instance. Actual state: written by the scheduler only. `guid` is the instance guid.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "actual_lrp")]
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
    /// Process version.
    pub process_version: String,
    /// Instance index.
    pub instance_index: i64,
    /// State.
    pub state: String,
    /// Cell id.
    pub cell_id: Option<String>,
    /// Address.
    pub address: Option<String>,
    /// Ports.
    pub ports: String,
    /// Ready.
    pub ready: bool,
    /// Since ns.
    pub since_ns: i64,
    /// Memory it was placed with, MiB.
    pub memory_mb: i64,
    /// Disk it was placed with, MiB.
    pub disk_mb: i64,
    /// Crash count.
    pub crash_count: i64,
    /// Crash reason.
    pub crash_reason: Option<String>,
    /// Placement error.
    pub placement_error: Option<String>,
    /// Retry at ns.
    pub retry_at_ns: Option<i64>,
}

/// No relations are declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

crate::noun!("Instance");
