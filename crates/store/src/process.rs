//! Processes of apps.

use sea_orm::entity::prelude::*;

/// How one process type of an app is run. `version` changes with each start, which replaces all instances.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "process")]
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
    /// App guid.
    pub app_guid: String,
    /// Which kind it is, in the words of the API.
    pub kind: String,
    /// Version.
    pub version: String,
    /// Command.
    pub command: Option<String>,
    /// Run as.
    pub run_as: Option<String>,
    /// Instances.
    pub instances: i64,
    /// Memory mb.
    pub memory_mb: i64,
    /// Disk mb.
    pub disk_mb: i64,
    /// Log rate limit.
    pub log_rate_limit: i64,
    /// Health type.
    pub health_type: String,
    /// Health endpoint.
    pub health_endpoint: Option<String>,
    /// Health timeout.
    pub health_timeout: Option<i64>,
    /// Health invocation timeout.
    pub health_invocation_timeout: Option<i64>,
    /// Health interval.
    pub health_interval: Option<i64>,
    /// Readiness type.
    pub readiness_type: String,
    /// Readiness endpoint.
    pub readiness_endpoint: Option<String>,
    /// Readiness invocation timeout.
    pub readiness_invocation_timeout: Option<i64>,
    /// Readiness interval.
    pub readiness_interval: Option<i64>,
}

/// No relations are declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

crate::noun!("Process");
