//! Connections: a pool to read and a pool to write, so that writers who wait do not take readers' places.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sea_orm::{ConnectOptions, Database, DatabaseConnection, SqlxPostgresConnector};

use crate::StoreError;

/// How long to wait for a free connection, for the turn to write, and for one statement.
const PATIENCE: Duration = Duration::from_secs(30);
const READERS: u32 = 8;

/// Where the data lives.
#[derive(Clone)]
pub enum Options {
    /// A file of its own, made when missing.
    Sqlite(PathBuf),
    /// A PostgreSQL database by URL, `postgres://…`; its encoding must be UTF8.
    Postgres(String),
}

impl fmt::Debug for Options {
    /// Without the URL: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(_) => f.write_str("Postgres(..)"),
        }
    }
}

/// The pool to read from and the pool to write with.
pub(crate) async fn connect(
    options: Options,
) -> Result<(DatabaseConnection, DatabaseConnection), StoreError> {
    match options {
        Options::Sqlite(path) => {
            // The writer first: it makes the file.
            let write = Database::connect(sqlite(&path, 1, "OFF")).await?;
            Ok((Database::connect(sqlite(&path, READERS, "ON")).await?, write))
        }
        Options::Postgres(url) => {
            // One reader more, for the feed's listener. Two writers: one works, one already queues at the server.
            let read = postgres(
                &url,
                READERS + 1,
                &[
                    ("default_transaction_isolation", "repeatable read"),
                    ("default_transaction_read_only", "on"),
                ],
            );
            // A write never sees another's half-done work, since it is alone, but must see all that was committed
            // before its turn came: a snapshot from before the wait would not do. A writer whose machine vanished
            // must not keep the lock.
            let write = postgres(
                &url,
                2,
                &[
                    ("default_transaction_isolation", "read committed"),
                    ("default_transaction_read_only", "off"),
                    ("idle_in_transaction_session_timeout", "30s"),
                    ("lock_timeout", "30s"),
                ],
            );
            // Not `Database::connect`: it repeats a URL it does not know, password and all, in its error.
            let write = SqlxPostgresConnector::connect(write).await?;
            Ok((SqlxPostgresConnector::connect(read).await?, write))
        }
    }
}

fn postgres(
    url: &str,
    connections: u32,
    settings: &'static [(&'static str, &'static str)],
) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        // One round trip less for a busy platform; a quiet one notices that the server was restarted.
        .test_before_acquire_if_idle_for(Duration::from_secs(5))
        .statement_timeout(PATIENCE)
        .sqlx_logging(false)
        .map_sqlx_postgres_opts(move |postgres| {
            postgres
                .application_name("slipway")
                .options(settings.iter().copied())
        });
    options
}

fn sqlite(path: &Path, connections: u32, query_only: &'static str) -> ConnectOptions {
    let mut options = ConnectOptions::new("sqlite://replaced-below");
    let path = path.to_owned();
    options
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(move |sqlite| {
            // FULL: what the API confirmed survives a power cut, at the price of one fsync a commit.
            sqlite
                .filename(&path)
                .create_if_missing(true)
                .busy_timeout(PATIENCE)
                .pragma("journal_mode", "WAL")
                .pragma("synchronous", "FULL")
                .pragma("foreign_keys", "ON")
                .pragma("query_only", query_only)
        });
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "postgres://someone:geheim@127.0.0.1:1/none";

    #[test]
    fn debug_keeps_the_password() {
        assert_eq!(format!("{:?}", Options::Postgres(URL.to_owned())), "Postgres(..)");
    }

    #[tokio::test]
    async fn errors_keep_the_password() {
        for url in [
            URL.replace(":1/", ":port/"),
            URL.replace(":1/", ":port/").replace("postgres:", "pg:"),
        ] {
            let error = connect(Options::Postgres(url))
                .await
                .expect_err("that is no port");
            let text = format!("{error:?} {}", base::chain(&error));
            assert!(!text.contains("geheim"), "{text}");
        }
    }
}
