//! Droplets: images pinned by staging.

use sea_orm::entity::prelude::*;

/// A pinned image. `layers` and `config` are internal JSON; `execution_metadata` is what the API shows.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "droplet")]
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
    /// Build guid.
    pub build_guid: String,
    /// State.
    pub state: String,
    /// Error.
    pub error: Option<String>,
    /// Image.
    pub image: String,
    /// Index digest.
    pub index_digest: Option<String>,
    /// Manifest digest.
    pub manifest_digest: String,
    /// Layers.
    pub layers: String,
    /// Config.
    pub config: String,
    /// Process types.
    pub process_types: String,
    /// Execution metadata.
    pub execution_metadata: String,
    /// Username.
    pub username: Option<String>,
    /// Password sealed.
    pub password_sealed: Option<String>,
}

/// No relations are declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

crate::noun!("Droplet");
