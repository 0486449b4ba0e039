//! The change feed: wakes whoever waits for a committed change.
//!
//! A commit of this process rings the bell itself. Commits of other processes arrive, on PostgreSQL, as notifications
//! whose payload names the store they come from; those of our own are passed over, so no commit rings twice.

use std::sync::Arc;
use std::time::Duration;

use base::{Backoff, Report};
use sea_orm::DbErr;
use sea_orm::sqlx::postgres::PgListener;
use sea_orm::sqlx::{self, Executor, PgPool};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::StoreError;

/// Wakes whoever waits for a committed change. The number only grows.
pub type Feed = watch::Receiver<u64>;

/// The PostgreSQL channel of commits.
pub(crate) const CHANNEL: &str = "slipway_store";
/// A connection this long silent is asked whether it is alive: a peer that vanished says nothing.
const SILENCE: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(10);

/// Rings for every feed of a store.
#[derive(Clone, Default)]
pub(crate) struct Bell(Arc<watch::Sender<u64>>);

impl Bell {
    pub(crate) fn ring(&self) {
        self.0.send_modify(|revision| *revision += 1);
    }

    pub(crate) fn subscribe(&self) -> Feed {
        self.0.subscribe()
    }
}

/// Hears the commits of other processes.
pub(crate) struct Listener {
    pool: PgPool,
    bell: Bell,
    origin: String,
    first: PgListener,
}

impl Listener {
    /// Listens from now on; what arrives before [`Listener::run`] is kept.
    pub(crate) async fn start(pool: PgPool, bell: Bell, origin: String) -> Result<Self, StoreError> {
        let first = subscribe(&pool)
            .await
            .map_err(|error| DbErr::Conn(sea_orm::RuntimeErr::SqlxError(error.into())))?;
        Ok(Self {
            pool,
            bell,
            origin,
            first,
        })
    }

    /// Runs until dropped or until the pool is closed.
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        let mut connection = self.first;
        loop {
            let error = relay(&mut connection, &self.bell, &self.origin, &mut backoff).await;
            drop(connection);
            warn!(error = %Report(&error), "the change feed lost its connection and makes a new one");
            connection = loop {
                tokio::time::sleep(backoff.next_pause()).await;
                match subscribe(&self.pool).await {
                    Ok(connection) => break connection,
                    Err(sqlx::Error::PoolClosed) => return,
                    Err(error) => {
                        warn!(error = %Report(&error), "the change feed cannot connect and tries again")
                    }
                }
            };
            info!("the change feed listens again");
            // Whatever was committed meanwhile was not heard.
            self.bell.ring();
        }
    }
}

async fn subscribe(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    match timeout(ANSWER, listener.listen(CHANNEL)).await {
        Ok(done) => done.map(|()| listener),
        Err(_) => Err(silent()),
    }
}

/// Rings for each commit of others until the connection fails; gives the failure.
async fn relay(connection: &mut PgListener, bell: &Bell, origin: &str, backoff: &mut Backoff) -> sqlx::Error {
    loop {
        // Cancel-safe: bytes of an unfinished message stay in the connection's buffer.
        match timeout(SILENCE, connection.try_recv()).await {
            Ok(Ok(Some(commit))) if commit.payload() == origin => {}
            // `None`: the connection was lost and made anew.
            Ok(Ok(_)) => bell.ring(),
            Ok(Err(error)) => return error,
            Err(_) => match timeout(ANSWER, connection.execute("SELECT 1")).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error,
                Err(_) => return silent(),
            },
        }
        backoff.reset();
    }
}

fn silent() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        "the database does not answer",
    ))
}
