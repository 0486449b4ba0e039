//! Apps.

use sea_orm::entity::prelude::*;

/// An app. Desired state: written by the API.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "app")]
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
    /// Name.
    pub name: String,
    /// Space guid.
    pub space_guid: String,
    /// State.
    pub state: String,
    /// Lifecycle.
    pub lifecycle: String,
    /// Droplet guid.
    pub droplet_guid: Option<String>,
    /// Env sealed.
    pub env_sealed: String,
    /// Ssh enabled.
    pub ssh_enabled: bool,
    /// Revisions enabled.
    pub revisions_enabled: bool,
}

/// No relations are declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

crate::noun!("App");
