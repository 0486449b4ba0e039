//! Builds: one staging of a package.

use sea_orm::entity::prelude::*;

/// One staging.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "build")]
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
    /// Package guid.
    pub package_guid: String,
    /// Droplet guid.
    pub droplet_guid: Option<String>,
    /// State.
    pub state: String,
    /// Error.
    pub error: Option<String>,
    /// Memory mb.
    pub memory_mb: i64,
    /// Disk mb.
    pub disk_mb: i64,
    /// Created by guid.
    pub created_by_guid: String,
    /// Created by name.
    pub created_by_name: String,
}

/// No relations are declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

crate::noun!("Build");
