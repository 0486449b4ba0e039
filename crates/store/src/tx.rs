//! The store, its transactions and its change feed.
//!
//! All access goes through a [`Tx`]: a read transaction sees one snapshot, a write transaction is alone (SQLite has
//! one writer connection, taken with `BEGIN IMMEDIATE`). Nothing but the transaction may be awaited while a write is
//! open, else every other writer waits.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, unix_nanos};
use sea_orm::{
    ActiveModelTrait, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction,
    EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter, QuerySelect, SqlErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use sea_orm_migration::MigratorTrait;
use tokio::sync::watch;

use crate::migration::Migrator;
use crate::{Noun, Page, Query, StoreError};

/// Wakes whoever waits for a committed change. The number only grows.
pub type Feed = watch::Receiver<u64>;

/// Where the data lives.
#[derive(Clone, Debug)]
pub enum Options {
    /// A file of its own, made when missing.
    Sqlite(std::path::PathBuf),
    /// A PostgreSQL database by URL.
    Postgres(String),
}

/// The open database. Cloning shares it.
#[derive(Clone)]
pub struct Store {
    read: DatabaseConnection,
    write: DatabaseConnection,
    feed: Arc<watch::Sender<u64>>,
    clock: Arc<dyn Clock>,
}

/// A transaction. Dropping it without [`Tx::commit`] undoes its writes.
pub struct Tx {
    inner: DatabaseTransaction,
    now_micros: i64,
    feed: Option<Arc<watch::Sender<u64>>>,
}

impl Store {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// When it cannot be reached or a migration fails; what a failed migration did is undone.
    pub async fn open(options: Options, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let (read, write) = match options {
            Options::Sqlite(path) => {
                let write = Database::connect(sqlite(&path, 1)).await?;
                (Database::connect(sqlite(&path, 8)).await?, write)
            }
            Options::Postgres(url) => {
                let mut options = ConnectOptions::new(url);
                options
                    .max_connections(16)
                    .acquire_timeout(Duration::from_secs(10))
                    .sqlx_logging(false);
                let pool = Database::connect(options).await?;
                (pool.clone(), pool)
            }
        };
        Migrator::up(&write, None).await?;
        Ok(Self {
            read,
            write,
            feed: Arc::new(watch::Sender::new(0)),
            clock,
        })
    }

    /// A snapshot to read from.
    pub async fn read(&self) -> Result<Tx, StoreError> {
        let inner = self.read.begin().await?;
        Ok(Tx {
            inner,
            now_micros: now_micros(&*self.clock),
            feed: None,
        })
    }

    /// A transaction to write with. Take it late and commit it soon.
    pub async fn write(&self) -> Result<Tx, StoreError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let inner = self.write.begin_with_options(options).await?;
        Ok(Tx {
            inner,
            now_micros: now_micros(&*self.clock),
            feed: Some(self.feed.clone()),
        })
    }

    /// The change feed: changes whenever a write is committed.
    pub fn feed(&self) -> Feed {
        self.feed.subscribe()
    }

    /// The clock rows are stamped with.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Closes all connections.
    pub async fn close(self) -> Result<(), StoreError> {
        self.read.close().await?;
        Ok(self.write.close().await?)
    }
}

impl Tx {
    pub(crate) fn inner(&self) -> &DatabaseTransaction {
        &self.inner
    }

    /// The time this transaction stamps rows with, microseconds since 1970.
    pub fn now_micros(&self) -> i64 {
        self.now_micros
    }

    /// Makes the writes durable and wakes the change feed.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.inner.commit().await?;
        if let Some(feed) = self.feed {
            feed.send_modify(|revision| *revision += 1);
        }
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
        Ok(query.select().limit(1).one(&self.inner).await?)
    }

    /// All rows that answer the query.
    pub async fn all<E: Noun>(&self, query: Query<E>) -> Result<Vec<E::Row>, StoreError> {
        Ok(query.select().all(&self.inner).await?)
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
            .await?;
        Ok((rows, total))
    }

    /// How many rows answer the query.
    pub async fn count<E: Noun>(&self, query: Query<E>) -> Result<u64, StoreError> {
        Ok(PaginatorTrait::count(query.select(), &self.inner).await?)
    }

    /// Adds a row. `id`, `created_at` and `updated_at` are set here; `guid` is the caller's.
    pub async fn insert<E: Noun>(&self, row: E::Row) -> Result<E::Row, StoreError> {
        let mut draft = row.into_active_model().reset_all();
        draft.not_set(E::id());
        draft.set(E::created_at(), self.now_micros.into());
        draft.set(E::updated_at(), self.now_micros.into());
        draft.insert(&self.inner).await.map_err(conflict::<E>)
    }

    /// Writes all columns of a row and stamps it.
    pub async fn update<E: Noun>(&self, row: E::Row) -> Result<E::Row, StoreError> {
        let mut draft = row.into_active_model().reset_all();
        draft.set(E::updated_at(), self.now_micros.into());
        draft.update(&self.inner).await.map_err(conflict::<E>)
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
            .await?;
        Ok(deleted.rows_affected)
    }

    /// Answers whether the database can be reached.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.inner.execute_unprepared("SELECT 1").await?;
        Ok(())
    }
}

fn conflict<E: Noun>(error: sea_orm::DbErr) -> StoreError {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => StoreError::Conflict { noun: E::NAME },
        _ => StoreError::Database(error),
    }
}

fn sqlite(path: &Path, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new("sqlite://replaced-below");
    let path = path.to_owned();
    options
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(30))
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(move |sqlite| {
            // FULL: what the API confirmed survives a power cut, at the price of one fsync a commit.
            sqlite
                .filename(&path)
                .create_if_missing(true)
                .pragma("journal_mode", "WAL")
                .pragma("synchronous", "FULL")
                .pragma("foreign_keys", "ON")
                .pragma("busy_timeout", "10000")
        });
    options
}

/// Now in microseconds since 1970.
pub fn now_micros(clock: &dyn Clock) -> i64 {
    unix_nanos(clock.now()) / 1000
}

/// A fresh random guid.
pub fn new_guid() -> String {
    uuid::Uuid::new_v4().to_string()
}
