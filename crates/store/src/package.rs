//! Packages: image references with their credentials.

use sea_orm::entity::prelude::*;

/// What is to be staged.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "package")]
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
    /// State.
    pub state: String,
    /// Image.
    pub image: String,
    /// Username.
    pub username: Option<String>,
    /// Password sealed.
    pub password_sealed: Option<String>,
    /// Error.
    pub error: Option<String>,
}

/// No relations are declared: joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

crate::noun!("Package");
