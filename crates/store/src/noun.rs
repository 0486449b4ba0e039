//! What all nouns have in common: a guid, two times, an order.

use sea_orm::{ActiveModelTrait, EntityTrait, FromQueryResult, IntoActiveModel, ModelTrait};

/// A table with the common columns. Implemented by [`noun!`](crate::noun) for each file's `Entity`.
pub trait Noun: EntityTrait<Model = Self::Row, ActiveModel = Self::Draft> {
    /// The row.
    type Row: ModelTrait<Entity = Self> + FromQueryResult + IntoActiveModel<Self::Draft> + Send + Sync;
    /// The row being written.
    type Draft: ActiveModelTrait<Entity = Self> + sea_orm::ActiveModelBehavior + Send;
    /// The noun in the words of the API: `App`, `Service instance`.
    const NAME: &'static str;

    /// Column of the insertion order.
    fn id() -> Self::Column;
    /// Column of the public name.
    fn guid() -> Self::Column;
    /// Column of the creation time.
    fn created_at() -> Self::Column;
    /// Column of the last change.
    fn updated_at() -> Self::Column;
    /// The row's public name.
    fn guid_of(row: &Self::Row) -> &str;
}

/// Implements [`Noun`] for the `Entity` of the file it stands in.
#[macro_export]
#[doc(hidden)]
macro_rules! noun {
    ($name:literal) => {
        impl $crate::Noun for Entity {
            type Row = Model;
            type Draft = ActiveModel;
            const NAME: &'static str = $name;

            fn id() -> Column {
                Column::Id
            }
            fn guid() -> Column {
                Column::Guid
            }
            fn created_at() -> Column {
                Column::CreatedAt
            }
            fn updated_at() -> Column {
                Column::UpdatedAt
            }
            fn guid_of(row: &Model) -> &str {
                &row.guid
            }
        }
    };
}
