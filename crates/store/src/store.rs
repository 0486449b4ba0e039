//! The store: where transactions come from.

use std::sync::Arc;
use std::time::Duration;

use base::{Clock, Tasks};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use sea_orm_migration::MigratorTrait;

use crate::StoreError;
use crate::connect::{Options, connect};
use crate::feed::{Bell, Feed, Listener};
use crate::migration::Migrator;
use crate::tx::{Finish, Tx, new_guid, now_micros};

/// Key of the PostgreSQL advisory lock that a write transaction holds: `slipwayW` in ASCII.
const WRITE_LOCK: i64 = 0x736c_6970_7761_7957;
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// The open database. Cloning shares it; when the last clone is dropped, its background task ends.
#[derive(Clone)]
pub struct Store {
    read: DatabaseConnection,
    write: DatabaseConnection,
    /// What a PostgreSQL write says first; see [`Store::write`].
    preamble: Option<Arc<str>>,
    bell: Bell,
    tasks: Tasks,
    clock: Arc<dyn Clock>,
}

impl Store {
    /// Opens the database, brings its schema up to date and, on PostgreSQL, starts to listen for the commits of other
    /// processes. Several processes may open it at once.
    ///
    /// # Errors
    /// When it cannot be reached or a migration fails; what a failed migration did is undone.
    pub async fn open(options: Options, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let (read, write) = connect(options).await?;
        let mut store = Self {
            read,
            write,
            preamble: None,
            bell: Bell::default(),
            tasks: Tasks::new(),
            clock,
        };
        if store.write.get_database_backend() == DbBackend::Postgres {
            let origin = new_guid();
            let channel = crate::feed::CHANNEL;
            // One round trip. The server sends the notification when, and only if, the transaction commits.
            let preamble =
                format!("SELECT pg_advisory_xact_lock({WRITE_LOCK}); NOTIFY {channel}, '{origin}'");
            store.preamble = Some(preamble.into());
            let pool = store.read.get_postgres_connection_pool().clone();
            let listener = Listener::start(pool, store.bell.clone(), origin).await?;
            store.tasks.spawn("store feed", listener.run());
        }
        store.migrate().await?;
        Ok(store)
    }

    /// All steps in one write transaction: a kill leaves all or nothing, and processes that start together take turns.
    async fn migrate(&self) -> Result<(), StoreError> {
        let inner = self.begin_write().await?;
        if inner.get_database_backend() == DbBackend::Postgres {
            inner
                .execute_unprepared("SET LOCAL statement_timeout = 0")
                .await?;
        }
        Migrator::up(&inner, None).await?;
        Ok(inner.commit().await?)
    }

    /// A snapshot to read from.
    pub async fn read(&self) -> Result<Tx, StoreError> {
        let inner = self.read.begin().await?;
        Ok(Tx::new(inner, now_micros(&*self.clock), None))
    }

    /// A transaction to write with; no other is open at the same time, in no process. Take it late and commit it soon.
    ///
    /// # Errors
    /// When the turn to write does not come within 30 s, or the database cannot be reached.
    pub async fn write(&self) -> Result<Tx, StoreError> {
        let inner = self.begin_write().await?;
        let finish = Finish {
            bell: self.bell.clone(),
            tasks: self.tasks.clone(),
        };
        Ok(Tx::new(inner, now_micros(&*self.clock), Some(finish)))
    }

    async fn begin_write(&self) -> Result<DatabaseTransaction, StoreError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let inner = self.write.begin_with_options(options).await?;
        if let Some(preamble) = &self.preamble {
            inner.execute_unprepared(preamble).await?;
        }
        Ok(inner)
    }

    /// The change feed: changes whenever a write is committed.
    pub fn feed(&self) -> Feed {
        self.bell.subscribe()
    }

    /// The clock rows are stamped with.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Closes all connections.
    pub async fn close(self) -> Result<(), StoreError> {
        self.tasks.shutdown(CLOSE_DEADLINE).await;
        self.read.close().await?;
        Ok(self.write.close().await?)
    }
}
