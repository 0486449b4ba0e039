//! What can go wrong in the store.

/// An error of the store. Only `api` turns it into words for the user.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No row has this guid.
    #[error("{noun} not found")]
    NotFound {
        /// The noun in the words of the API, for example `App`.
        noun: &'static str,
    },
    /// A row with the same unique columns exists, or a row that this one belongs to does not (any more). The statement
    /// did nothing; the transaction goes on.
    #[error("{noun} conflicts with what is stored")]
    Conflict {
        /// The noun in the words of the API.
        noun: &'static str,
    },
    /// The database said no. A write transaction in which this happened can only be undone.
    #[error("the database failed")]
    Database(#[from] sea_orm::DbErr),
}
