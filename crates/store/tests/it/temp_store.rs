//! A store that lives as long as its test, on either engine.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use base::ManualClock;
use store::{Options, Query, Store, new_guid, org};

/// Longer than anything here takes, shorter than any time limit of the store.
pub const SOON: Duration = Duration::from_secs(8);

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// An empty store of its own.
pub struct TempStore {
    pub store: Store,
    pub clock: ManualClock,
    pub engine: Engine,
    pub options: Options,
    _dir: tempfile::TempDir,
}

impl TempStore {
    pub async fn new(engine: Engine) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = match engine {
            Engine::Sqlite => Options::Sqlite(dir.path().join("db.sqlite")),
            Engine::Postgres => Options::Postgres(
                tokio::task::spawn_blocking(crate::postgres::database)
                    .await
                    .unwrap(),
            ),
        };
        let clock = ManualClock::new(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let store = Store::open(options.clone(), Arc::new(clock.clone()))
            .await
            .unwrap();
        Self {
            store,
            clock,
            engine,
            options,
            _dir: dir,
        }
    }

    /// The same database opened once more, as another process would.
    pub async fn again(&self) -> Store {
        Store::open(self.options.clone(), Arc::new(self.clock.clone()))
            .await
            .unwrap()
    }

    /// The database itself, to do what the store does not.
    pub async fn raw(&self) -> sea_orm::DatabaseConnection {
        let url = match &self.options {
            Options::Sqlite(path) => format!("sqlite://{}", path.display()),
            Options::Postgres(url) => url.clone(),
        };
        sea_orm::Database::connect(url).await.unwrap()
    }
}

pub fn org_row(name: &str) -> org::Model {
    org::Model {
        id: 0,
        guid: new_guid(),
        created_at: 0,
        updated_at: 0,
        name: name.to_owned(),
        suspended: false,
        quota_guid: "default".to_owned(),
    }
}

/// Adds an organization in a transaction of its own.
pub async fn add_org(store: &Store, name: &str) -> org::Model {
    let tx = store.write().await.unwrap();
    let row = tx.insert::<org::Entity>(org_row(name)).await.unwrap();
    tx.commit().await.unwrap();
    row
}

/// The names of all organizations, in insertion order.
pub async fn org_names(store: &Store) -> Vec<String> {
    let tx = store.read().await.unwrap();
    tx.all(Query::<org::Entity>::new())
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.name)
        .collect()
}

/// Makes two tests of each function: one on SQLite, one on PostgreSQL.
macro_rules! on_both_engines {
    ($($test:ident),* $(,)?) => {
        $(mod $test {
            use crate::temp_store::{Engine, TempStore};

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                super::$test(TempStore::new(Engine::Sqlite).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$test(TempStore::new(Engine::Postgres).await).await;
            }
        })*
    };
}
pub(crate) use on_both_engines;
