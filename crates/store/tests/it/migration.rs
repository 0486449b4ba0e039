//! Opening: the schema comes up once, whoever opens first.

use sea_orm::{ConnectionTrait, Statement};
use store::{Options, Store};

use crate::temp_store::{Engine, TempStore, add_org, on_both_engines, org_names};

on_both_engines!(
    a_second_open_changes_nothing,
    processes_may_open_an_empty_database_together
);

async fn steps(db: &TempStore) -> Vec<(String, i64)> {
    let raw = db.raw().await;
    let sql = "SELECT version, applied_at FROM seaql_migrations ORDER BY version";
    let rows = raw
        .query_all_raw(Statement::from_string(raw.get_database_backend(), sql))
        .await
        .unwrap();
    rows.iter()
        .map(|row| {
            (
                row.try_get("", "version").unwrap(),
                row.try_get("", "applied_at").unwrap(),
            )
        })
        .collect()
}

async fn a_second_open_changes_nothing(db: TempStore) {
    let before = steps(&db).await;
    assert_eq!(before[0].0, "m0001_first");
    add_org(&db.store, "kept").await;
    let again = db.again().await;
    assert_eq!(org_names(&again).await, ["kept"]);
    assert_eq!(steps(&db).await, before);
}

async fn processes_may_open_an_empty_database_together(db: TempStore) {
    let (options, _dir) = match db.engine {
        Engine::Sqlite => {
            let dir = tempfile::tempdir().unwrap();
            (Options::Sqlite(dir.path().join("new.sqlite")), Some(dir))
        }
        Engine::Postgres => (Options::Postgres(crate::postgres::database()), None),
    };
    let open = || Store::open(options.clone(), db.store.clock().clone());
    let (a, b, c) = tokio::join!(open(), open(), open());
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    add_org(&a, "one").await;
    add_org(&b, "two").await;
    assert_eq!(org_names(&c).await, ["one", "two"]);
}
