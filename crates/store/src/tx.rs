//! A transaction: all reading and writing of rows goes through one.
//!
//! Nothing but the transaction may be awaited while a write is open, else every other writer waits.

use std::sync::atomic::{AtomicBool, Ordering};

use base::{Clock, Tasks, unix_nanos};
use sea_orm::{
    ActiveModelTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, IntoActiveModel,
    PaginatorTrait, QueryFilter, QuerySelect, SqlErr, TransactionTrait,
};
use tokio::sync::oneshot;

use crate::feed::Bell;
use crate::{Noun, Page, Query, StoreError};

/// A transaction. Dropping it without [`Tx::commit`] undoes its writes and lets the next writer in at once.
pub struct Tx {
    inner: DatabaseTransaction,
    now_micros: i64,
    broken: AtomicBool,
    finish: Option<Finish>,
}

/// What the commit of a write needs.
pub(crate) struct Finish {
    pub(crate) bell: Bell,
    pub(crate) tasks: Tasks,
}

impl Tx {
    pub(crate) fn new(inner: DatabaseTransaction, now_micros: i64, finish: Option<Finish>) -> Self {
        Self {
            inner,
            now_micros,
            broken: AtomicBool::new(false),
            finish,
        }
    }

    pub(crate) fn inner(&self) -> &DatabaseTransaction {
        &self.inner
    }

    /// Remembers a failure, so that nothing is committed after it.
    pub(crate) fn seen<T>(&self, result: Result<T, DbErr>) -> Result<T, StoreError> {
        result.map_err(|error| {
            self.broken.store(true, Ordering::Relaxed);
            StoreError::Database(error)
        })
    }

    /// The time this transaction stamps rows with, microseconds since 1970.
    pub fn now_micros(&self) -> i64 {
        self.now_micros
    }

    /// Makes the writes durable and wakes the change feed, even when the caller stops waiting for it.
    ///
    /// # Errors
    /// When the database fails, or failed earlier in this transaction with [`StoreError::Database`]: then nothing is
    /// kept. When the connection breaks during the commit itself, it is unknown whether the writes were kept.
    pub async fn commit(self) -> Result<(), StoreError> {
        let Self {
            inner,
            broken,
            finish,
            ..
        } = self;
        if broken.into_inner() {
            inner.rollback().await?;
            return Err(failed(
                "an earlier statement of this transaction failed, so nothing of it was kept",
            ));
        }
        let Some(Finish { bell, tasks }) = finish else {
            return Ok(inner.commit().await?);
        };
        // In a task of its own: a request whose client hangs up is dropped at its next await, and a commit dropped
        // halfway may be kept without waking anybody.
        let (answer, outcome) = oneshot::channel();
        tasks.spawn_graceful("commit", async move {
            let result = inner.commit().await;
            if result.is_ok() {
                bell.ring();
            }
            // Nobody waits any more: fine.
            answer.send(result).ok();
        });
        outcome
            .await
            .map_err(|_| failed("the task that commits was ended, so it is unknown what was kept"))??;
        Ok(())
    }

    /// The row with this guid, if there is one.
    pub async fn find<E: Noun>(&self, guid: &str) -> Result<Option<E::Row>, StoreError> {
        self.one(Query::<E>::guid(guid)).await
    }

    /// The row with this guid, or [`StoreError::NotFound`].
    pub async fn get<E: Noun>(&self, guid: &str) -> Result<E::Row, StoreError> {
        self.find::<E>(guid)
            .await?
            .ok_or(StoreError::NotFound { noun: E::NAME })
    }

    /// The first row that answers the query.
    pub async fn one<E: Noun>(&self, query: Query<E>) -> Result<Option<E::Row>, StoreError> {
        self.seen(query.select().limit(1).one(&self.inner).await)
    }

    /// All rows that answer the query.
    pub async fn all<E: Noun>(&self, query: Query<E>) -> Result<Vec<E::Row>, StoreError> {
        self.seen(query.select().all(&self.inner).await)
    }

    /// One page of the rows that answer the query, and how many there are in all.
    pub async fn page<E: Noun>(&self, query: Query<E>, page: Page) -> Result<(Vec<E::Row>, u64), StoreError> {
        let total = self.count(query.clone()).await?;
        let skip = page.number.saturating_sub(1).saturating_mul(page.size);
        let rows = query
            .select()
            .limit(page.size)
            .offset(skip)
            .all(&self.inner)
            .await;
        Ok((self.seen(rows)?, total))
    }

    /// How many rows answer the query.
    pub async fn count<E: Noun>(&self, query: Query<E>) -> Result<u64, StoreError> {
        self.seen(PaginatorTrait::count(query.select(), &self.inner).await)
    }

    /// Adds a row. `id`, `created_at` and `updated_at` are set here; `guid` is the caller's.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when its unique columns are taken or a row it belongs to is missing.
    pub async fn insert<E: Noun>(&self, row: E::Row) -> Result<E::Row, StoreError> {
        let mut draft = row.into_active_model().reset_all();
        draft.not_set(E::id());
        draft.set(E::created_at(), self.now_micros.into());
        draft.set(E::updated_at(), self.now_micros.into());
        let savepoint = self.savepoint().await?;
        let result = draft.insert(savepoint.as_ref().unwrap_or(&self.inner)).await;
        self.settle::<E>(savepoint, result).await
    }

    /// Writes all columns of a row and stamps it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] as for [`Tx::insert`]; [`StoreError::NotFound`] when the row is gone.
    pub async fn update<E: Noun>(&self, row: E::Row) -> Result<E::Row, StoreError> {
        let mut draft = row.into_active_model().reset_all();
        draft.set(E::updated_at(), self.now_micros.into());
        let savepoint = self.savepoint().await?;
        let result = draft.update(savepoint.as_ref().unwrap_or(&self.inner)).await;
        self.settle::<E>(savepoint, result).await
    }

    /// Removes the row with its labels and annotations. True when there was one.
    pub async fn delete<E: Noun>(&self, guid: &str) -> Result<bool, StoreError> {
        self.delete_metadata(guid).await?;
        Ok(self.delete_where(Query::<E>::guid(guid)).await? > 0)
    }

    /// Removes all rows that answer the query; their labels stay. Returns how many.
    pub async fn delete_where<E: Noun>(&self, query: Query<E>) -> Result<u64, StoreError> {
        let deleted = <E as EntityTrait>::delete_many()
            .filter(query.condition())
            .exec(&self.inner)
            .await;
        Ok(self.seen(deleted)?.rows_affected)
    }

    /// Answers whether the database can be reached.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.seen(self.inner.execute_unprepared("SELECT 1").await)?;
        Ok(())
    }

    /// PostgreSQL gives up the whole transaction when it refuses a row; SQLite only the statement.
    async fn savepoint(&self) -> Result<Option<DatabaseTransaction>, StoreError> {
        match self.inner.get_database_backend() {
            DbBackend::Postgres => Ok(Some(self.seen(self.inner.begin().await)?)),
            _ => Ok(None),
        }
    }

    async fn settle<E: Noun>(
        &self,
        savepoint: Option<DatabaseTransaction>,
        result: Result<E::Row, DbErr>,
    ) -> Result<E::Row, StoreError> {
        if let Some(savepoint) = savepoint {
            let settled = match result {
                Ok(_) => savepoint.commit().await,
                Err(_) => savepoint.rollback().await,
            };
            self.seen(settled)?;
        }
        match result {
            Err(DbErr::RecordNotUpdated) => Err(StoreError::NotFound { noun: E::NAME }),
            Err(error) => match error.sql_err() {
                Some(SqlErr::UniqueConstraintViolation(_) | SqlErr::ForeignKeyConstraintViolation(_)) => {
                    Err(StoreError::Conflict { noun: E::NAME })
                }
                _ => self.seen(Err(error)),
            },
            Ok(row) => Ok(row),
        }
    }
}

fn failed(what: &str) -> StoreError {
    StoreError::Database(DbErr::Custom(what.to_owned()))
}

/// Now in microseconds since 1970.
pub fn now_micros(clock: &dyn Clock) -> i64 {
    unix_nanos(clock.now()) / 1000
}

/// A fresh random guid.
pub fn new_guid() -> String {
    uuid::Uuid::new_v4().to_string()
}
