//! Opening: the schema comes up once, whoever opens first.

use sea_orm::{ConnectionTrait, Statement};
use store::{Options, Store, registry_settings};

use crate::temp_store::{Engine, TempStore, add_org, on_both_engines, org_names};

on_both_engines!(
    a_second_open_changes_nothing,
    an_older_schema_is_brought_up_to_date,
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

async fn an_older_schema_is_brought_up_to_date(db: TempStore) {
    add_org(&db.store, "kept").await;
    let raw = db.raw().await;
    for sql in [
        "DROP TABLE registry_settings",
        "DELETE FROM seaql_migrations WHERE version > 'm0001_first'",
    ] {
        raw.execute_unprepared(sql).await.unwrap();
    }
    let again = db.again().await;
    assert_eq!(org_names(&again).await, ["kept"]);
    let row = registry_settings::Model {
        id: 0,
        guid: registry_settings::ONLY.to_owned(),
        created_at: 0,
        updated_at: 0,
        version: 1,
        document: "{}".to_owned(),
    };
    let tx = again.write().await.unwrap();
    let written = tx.insert::<registry_settings::Entity>(row).await.unwrap();
    tx.commit().await.unwrap();
    let tx = again.read().await.unwrap();
    let read = tx
        .find::<registry_settings::Entity>(registry_settings::ONLY)
        .await;
    assert_eq!(read.unwrap(), Some(written));
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
